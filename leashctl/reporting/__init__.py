"""What ``leashctl report`` makes of journals: figures, charts and a page. All of it is pure."""
