"use strict";
// Keeps the page live. What comes from the gateway is only ever put in as text.
const body = document.getElementById("runs");
const state = document.getElementById("state");
const filter = document.getElementById("filter");
const sort = document.getElementById("sort");
const empty = document.getElementById("empty");
const columns = [...document.querySelectorAll("thead th")].map((each) => each.textContent);
const fields = ["run", "status", "cost", "limit", "used_ppm", "per_hour", "spark", "tokens_per_minute", "left", "calls",
  "open", "cpu", "memory", "note"];
const rows = new Map([...body.children].map((row) => [row.dataset.run, row]));

function filled(row, cells) {
  row.className = cells[1];
  fields.forEach((field, number) => {
    const cell = row.children[number];
    const bar = cells[fields.length];
    if (field === "used_ppm" && bar >= 0) {
      let meter = cell.querySelector("meter");
      if (!meter) {
        meter = document.createElement("meter");
        Object.assign(meter, { max: 1000, low: 800, high: 999, optimum: 0 });
        meter.setAttribute("aria-hidden", "true");
        cell.replaceChildren(meter, "");
      }
      meter.value = bar;
      cell.lastChild.data = " " + cells[number];
    } else if (cell.textContent !== cells[number]) {
      cell.textContent = cells[number];
    }
  });
  row.amounts = { cost: amount(cells[2]), used: cells[fields.length], calls: Number(cells[9]), run: cells[0] };
  return row;
}

function made(cells) {
  const row = document.createElement("tr");
  row.dataset.run = cells[0];
  fields.forEach((field, number) => {
    const cell = document.createElement(number ? "td" : "th");
    if (number) {
      cell.className = field;
      cell.dataset.title = columns[number];
    } else {
      cell.scope = "row";
    }
    row.append(cell);
  });
  return filled(row, cells);
}

function amount(text) {
  return Number(text.replace("$", ""));
}

function ofMarkup(row) {
  const meter = row.querySelector("meter");
  row.amounts = { cost: amount(row.children[2].textContent), used: meter ? meter.value : -1,
    calls: Number(row.children[9].textContent), run: row.dataset.run };
}

function arrange() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  const by = sort.value;
  const order = [...rows.values()].sort((one, other) =>
    (by === "run" ? 0 : other.amounts[by] - one.amounts[by]) || (one.amounts.run < other.amounts.run ? -1 : 1));
  let shown = 0;
  order.forEach((row, place) => {
    // Only a row that stands elsewhere is moved, so that what is selected or read aloud stays.
    if (body.children[place] !== row) {
      body.insertBefore(row, body.children[place] || null);
    }
    const text = (row.dataset.run + " " + row.className + " " + row.lastElementChild.textContent).toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
    
    shown += row.hidden ? 0 : 1;
  });
  empty.hidden = shown > 0;
}

function told(event) {
  const news = JSON.parse(event.data);
  for (const cells of news.rows) {
    const row = rows.get(cells[0]);
    if (row) {
      filled(row, cells);
    } else {
      rows.set(cells[0], made(cells));
    }
  }
  for (const run of news.gone) {
    rows.get(run)?.remove();
    rows.delete(run);
  }
  document.getElementById("summary").textContent = news.summary;
  say(news.trouble ? "as they were last seen: " + news.trouble : "live", Boolean(news.trouble));
  arrange();
}

function say(text, away) {
  if (state.textContent !== text) {
    state.textContent = text;
  }
  state.classList.toggle("away", away);
}

rows.forEach(ofMarkup);
document.getElementById("tools").addEventListener("submit", (event) => event.preventDefault());
filter.addEventListener("input", arrange);
sort.addEventListener("change", arrange);
arrange();

function connect() {
  const stream = new EventSource("status/events");
  stream.onmessage = told;
  stream.onerror = () => {
    say("the gateway cannot be reached; the runs are as they were last seen", true);
    // A browser gives up on an answer that is no stream, such as one of a gateway that is just starting.
    if (stream.readyState === EventSource.CLOSED) {
      setTimeout(connect, 3000);
    }
  };
}
connect();
