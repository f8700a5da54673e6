// Rate or choose a few items, and watch the list change. What was rated stays in this tab.

import { api, element, Refused, setToken } from "./api.js";
import { choice, setRating, short, stars } from "./stars.js";

const N_QUESTIONS = 6;
const TYPING_PAUSE = 200; // milliseconds before a search
const at = (id) => document.getElementById(id);

let about; // the recommender that is served
let words; // what the page calls things, for ratings or clicks
let state; // the user: ratings [{item, title, rating}], the newest first; attributes, questions [{item, title}], skip [ids]
let displayed = null; // the list on the page: { items: ids, best first, ratings: how many it is from }
let displayedMost = 1; // the largest probability in the list of clicks
const failures = new Map(); // the last requests that failed, by name: { message, retry }
let pending; // aborts the request for a list that a newer change makes obsolete

const RATING_WORDS = {
  act: "Rate what you know",
  done: "Your ratings",
  one: "rating",
  many: "ratings",
  button: "Rate",
  hint: "What you think of these tells most. Skip what you do not know.",
  start: "What most people like. Rate a few, and it becomes yours.",
  because: "because you liked",
  remove: "Remove the rating of",
  others: "Ask me something useful",
};
const CLICK_WORDS = {
  act: "Choose what you know",
  done: "You chose",
  one: "choice",
  many: "choices",
  button: "Choose",
  hint: "What most people chose. Skip what you would not.",
  start: "What most people begin with. Choose a few, and it becomes yours.",
  because: "because you chose",
  remove: "Remove",
  others: "Show me others",
};

// ---- the user, stored over a reload ----

const fresh = () => ({ ratings: [], attributes: {}, questions: [], skip: [] });
const key = () => `quickstudy.recommender.${about.id}`;

function restore() {
  try {
    return { ...fresh(), ...JSON.parse(sessionStorage.getItem(key())) };
  } catch {
    return fresh();
  }
}

function store() {
  try {
    sessionStorage.setItem(key(), JSON.stringify(state));
  } catch {
    // without storage the page works, but forgets the ratings at a reload
  }
}

const user = () => ({
  ...(about.clicks
    ? { chosen: state.ratings.map(({ item }) => item).reverse() }
    : { ratings: state.ratings.map(({ item, rating }) => ({ item, rating })) }),
  attributes: state.attributes,
});
const ratingOf = (item) => state.ratings.find((rated) => rated.item === item)?.rating;

function rate({ item, title }, rating) {
  const old = state.ratings.find((rated) => rated.item === item);
  if (old) old.rating = rating;
  else state.ratings.unshift({ item, title, rating });
  changed();
}

function forget(item) {
  state.ratings = state.ratings.filter((rated) => rated.item !== item);
  changed();
}

function changed() {
  store();
  drawRated();
  for (const card of document.querySelectorAll("#questions > li")) {
    setRating(card.lastElementChild, ratingOf(card.dataset.item));
  }
  refresh();
}

// ---- drawing ----

function card(item, ...more) {
  const row = element("li", {}, element("span", { textContent: item.title, className: "title" }));
  row.dataset.item = item.item;
  const rating = ratingOf(item.item);
  const controls = about.clicks
    ? choice(item.title, rating !== undefined, (isChosen) => (isChosen ? rate(item, 1) : forget(item.item)))
    : stars(item.title, about.scale, rating, (value) => rate(item, value));
  row.append(...more, controls);
  return row;
}

function drawCards(items, hint) {
  at("questions").replaceChildren(...items.map((item) => card(item)));
  at("hint").textContent = hint;
}

function drawRated() {
  // cards that stay keep their element, and so the focus
  const old = new Map([...at("rated").children].map((row) => [row.dataset.item, row]));
  const rows = state.ratings.map((rated) => {
    const row = old.get(rated.item);
    if (row) {
      setRating(row.lastElementChild, rated.rating);
      return row;
    }
    const remove = element("button", {
      type: "button",
      className: "small",
      textContent: "Remove",
      ariaLabel: `${words.remove} ${rated.title}`,
    });
    remove.addEventListener("click", () => {
      forget(rated.item);
      at("rated-title").focus();
    });
    const made = card(rated, remove);
    if (about.clicks) made.lastElementChild.hidden = true; // to remove it is enough
    return made;
  });
  const stays = new Set(rows);
  for (const row of old.values()) if (!stays.has(row)) row.remove();
  rows.forEach((row, i) => {
    if (at("rated").children[i] !== row) at("rated").insertBefore(row, at("rated").children[i]);
  });
  at("count").textContent = rows.length ? `(${rows.length})` : "";
  at("none").hidden = rows.length > 0;
  at("reset").hidden = !rows.length && !Object.keys(state.attributes).length;
}

/** How an item came to its place since the last list. */
function moved(item, place) {
  const before = displayed ? displayed.items.indexOf(item) : place;
  if (before === place) return element("span");
  if (before < 0) return element("span", { className: "move up", textContent: "new" });
  const [way, sign, by] = before > place ? ["up", "▲", before - place] : ["down", "▼", place - before];
  const properties = { className: `move ${way}`, role: "img", ariaLabel: `${way} by ${by}` };
  return element("span", { ...properties, textContent: `${sign} ${by}` });
}

/** From what most people think to what this user may: two marks on a track, and what lies between. */
function pathOf({ rating, likely, usual }) {
  const [low, high] = about.clicks ? [0, displayedMost] : [about.scale[0], about.scale.at(-1)];
  const place = (value) => Math.min(100, Math.max(0, (100 * (value - low)) / (high - low || 1)));
  const yours = about.clicks ? likely : rating;
  const track = element("span", { className: "track path", ariaHidden: "true" });
  const [filled, most, you] = ["filled", "mark", "you"].map((className) => element("i", { className }));
  const [from, to] = [place(usual), place(yours)];
  filled.style.left = `${Math.min(from, to)}%`;
  filled.style.width = `${Math.abs(to - from)}%`;
  if (to < from) filled.classList.add("lower");
  most.style.left = `${from}%`;
  you.style.left = `${to}%`;
  track.append(filled, most, you);
  return track;
}

const percent = (share) => `${(100 * share).toPrecision(2).replace(/e.*/, "")} %`;

function expectation({ rating, likely, usual }) {
  if (about.clicks) return `${percent(likely)} to be next, for most ${percent(usual)}`;
  const best = short(about.scale.at(-1));
  return `${rating.toFixed(1)} of ${best}, for most ${usual.toFixed(1)}; ${Math.round(100 * likely)} % likely to please`;
}

function suggestionRow(suggestion, place) {
  const rateButton = element("button", {
    type: "button",
    className: "small",
    textContent: words.button,
    ariaLabel: `${words.button} ${suggestion.title}`,
  });
  rateButton.addEventListener("click", () => bringUp(suggestion));
  const row = element(
    "li",
    {},
    element(
      "div",
      { className: "head" },
      element("span", { className: "title", textContent: suggestion.title }),
      moved(suggestion.item, place),
    ),
    element(
      "div",
      { className: "foot" },
      pathOf(suggestion),
      element("span", { className: "quiet", textContent: expectation(suggestion) }),
    ),
    rateButton,
  );
  if (suggestion.because.length) {
    const why = `${words.because} ${suggestion.because.join(" and ")}`;
    row.append(element("p", { className: "because", textContent: why }));
  }
  row.dataset.item = suggestion.item;
  return row;
}

function drawList(suggestions) {
  const list = at("list");
  displayedMost = Math.max(1e-9, ...suggestions.flatMap(({ likely, usual }) => [likely, usual]));
  const before = new Map(
    [...list.children].map((row) => [row.dataset.item, row.getBoundingClientRect().top]),
  );
  list.replaceChildren(...suggestions.map(suggestionRow));
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  for (const row of still || !before.size ? [] : list.children) {
    const from = before.get(row.dataset.item);
    const top = row.getBoundingClientRect().top;
    if (from === undefined) row.animate({ opacity: [0, 1] }, 300);
    else if (from !== top) {
      row.animate({ transform: [`translateY(${from - top}px)`, "none"] }, { duration: 300, easing: "ease" });
    }
  }
  displayed = { items: suggestions.map(({ item }) => item), ratings: state.ratings.length };
  const first = suggestions.slice(0, 3).map(({ title }, i) => `${i + 1}. ${title}`);
  at("news").textContent = first.length ? `The list begins with ${first.join(", ")}` : "";
  at("jump").textContent = first.length ? `For you: ${first[0]} …` : "For you";
}

/** What the list is from: the ratings as they are, older ones, or nothing. */
function basis() {
  if (failures.has("list")) {
    return displayed ? "Out of date: it is from before your last change." : "There is no list yet.";
  }
  if (!displayed) return "";
  if (!displayed.items.length) return "Nothing is left to recommend.";
  const n = displayed.ratings;
  if (!n) return words.start;
  return `From ${n} ${n === 1 ? words.one : words.many} of yours.`;
}

/** What failed, with a way to try again, and whether the list is up to date. */
function drawState() {
  const messages = [...new Set([...failures.values()].map(({ message }) => message))];
  const again = element("button", { type: "button", textContent: "Try again" });
  again.addEventListener("click", () => {
    for (const failure of [...failures.values()]) failure.retry();
  });
  const texts = messages.map((textContent) => element("span", { textContent }));
  at("problem").replaceChildren(...texts, again);
  at("problem").hidden = !messages.length;
  const stale = failures.has("list");
  for (const id of ["list", "decision"]) at(id).classList.toggle("stale", stale);
  at("basis").textContent = basis();
  if (stale) at("jump").textContent = "For you: out of date";
}

/** What each base recommender looks at, in plain words. */
const BASES = {
  user_bias: "how high you rate in general",
  factors: "your taste, from what goes together",
  neighbours: "items like yours",
  bayes: "your taste, and how sure it is",
  implicit_feedback: "what you took up at all",
  expected_gain: "what may be a favourite",
  popularity: "what most people choose",
  markov_chain: "what comes after your last ones",
  ease: "what goes with all of yours",
};

/** The weights of each base, whatever its setting; the usual item mean moves nothing. */
function byBase(weights) {
  const sums = {};
  for (const [name, weight] of Object.entries(weights)) {
    const [base, setting] = name.split(" ");
    if (!(base === "user_bias" && setting === "inf")) sums[base] = (sums[base] ?? 0) + weight;
  }
  return sums;
}

function drawDecision(decision) {
  at("why").replaceChildren(...decision.why.map((textContent) => element("li", { textContent })));
  const weights = byBase(decision.weights);
  const usual = { weights: byBase(decision.usual.weights) };
  const all = [0, ...Object.values(weights), ...Object.values(usual.weights)];
  const [least, most] = [Math.min(...all), Math.max(...all, 0.01)];
  const place = (weight) => (100 * (weight - least)) / (most - least);
  const rows = Object.entries(weights)
    .filter(([name, weight]) => Math.abs(weight) >= 0.005 || Math.abs(usual.weights[name]) >= 0.005)
    .map(([name, weight]) => {
      const track = element("span", { className: "track", ariaHidden: "true" });
      const [filled, mark] = ["filled", "mark"].map((className) => element("i", { className }));
      filled.style.left = `${place(Math.min(0, weight))}%`;
      filled.style.width = `${place(Math.abs(weight)) - place(0)}%`;
      mark.style.left = `${place(usual.weights[name])}%`;
      track.append(filled, mark);
      const text = `${weight.toFixed(2)} (usual ${usual.weights[name].toFixed(2)})`;
      const numbers = element("span", { className: "quiet", textContent: text });
      const label = element("span", { textContent: BASES[name] ?? name, title: name });
      return element("li", {}, label, track, numbers);
    });
  at("weights").replaceChildren(...rows);
}

function drawAttributes() {
  const field = (name, control) => {
    control.id = `attribute-${name}`;
    control.addEventListener("change", () => {
      delete state.attributes[name];
      if (control.value !== "") {
        state.attributes[name] = control.type === "number" ? control.valueAsNumber : control.value;
      }
      changed();
    });
    return element("p", {}, element("label", { htmlFor: control.id, textContent: name }), control);
  };
  const value = (name) => state.attributes[name] ?? "";
  const numbers = about.numbers.map((name) =>
    field(name, element("input", { type: "number", step: "any", value: value(name) })),
  );
  const words = Object.entries(about.words).map(([name, choices]) => {
    const select = element("select", {}, element("option", { value: "", textContent: "not said" }));
    select.append(...choices.map((word) => element("option", { value: word, textContent: word })));
    select.value = value(name);
    return field(name, select);
  });
  at("fields").replaceChildren(...numbers, ...words);
  at("attributes").hidden = !numbers.length && !words.length;
}

// ---- requests ----

/** Make a request that may fail. A failure is displayed until the request of that name succeeds. */
async function attempt(name, request) {
  try {
    await request();
    failures.delete(name);
  } catch (error) {
    if (error.name === "AbortError") return; // a newer request of that name is on its way
    if (!(error instanceof Refused)) throw error;
    if (error.status === 401) {
      failures.clear(); // all begins again with the token
      askForToken();
    } else failures.set(name, { message: error.message, retry: () => attempt(name, request) });
  }
  drawState();
}

function askForToken() {
  at("wrong").hidden = !at("secret").value;
  at("token").hidden = false;
  at("secret").focus();
}

/** The list anew, unless a newer change comes first. */
function refresh() {
  pending?.abort();
  pending = new AbortController();
  const { signal } = pending;
  at("list").ariaBusy = "true";
  return attempt("list", async () => {
    try {
      const body = { ...user(), explain: true };
      const { suggestions, decision } = await api("recommender/recommend", body, signal);
      drawList(suggestions);
      drawDecision(decision);
    } finally {
      if (!signal.aborted) at("list").ariaBusy = "false";
    }
  });
}

/** Get other questions; items that were displayed and not rated are skipped from now on. */
function ask() {
  return attempt("questions", async () => {
    const items = state.questions.map(({ item }) => item);
    const unrated = items.filter((item) => ratingOf(item) === undefined);
    const skip = [...new Set([...state.skip, ...unrated])];
    const before = state;
    const answer = await api("recommender/ask", { ...user(), n: N_QUESTIONS, skip });
    if (state !== before) return; // started over meanwhile
    state.skip = answer.items.length ? skip : []; // after the last question, start again
    state.questions = answer.items;
    store();
    if (!at("search").value) drawQuestions(); // else a search began meanwhile
  });
}

function drawQuestions() {
  const hint = state.questions.length
    ? words.hint
    : "You were asked about everything. Once more?";
  drawCards(state.questions, hint);
}

let typing;

function searchSoon() {
  clearTimeout(typing);
  typing = setTimeout(search, TYPING_PAUSE);
}

function search() {
  const text = at("search").value.trim();
  if (!text) {
    failures.delete("search");
    drawState();
    return drawQuestions();
  }
  return attempt("search", async () => {
    const { items } = await api(`recommender/items?n=${N_QUESTIONS}&search=${encodeURIComponent(text)}`);
    if (at("search").value.trim() !== text) return; // a newer search is on its way
    const hint = items.length
      ? "The most rated titles with these words."
      : `Nothing is called “${text}”.`;
    drawCards(items, hint);
  });
}

/** Put a suggested item first among those to rate, and the focus on its stars. */
function bringUp(item) {
  at("search").value = "";
  state.questions = [item, ...state.questions.filter((other) => other.item !== item.item)].map(
    ({ item, title }) => ({ item, title }),
  );
  store();
  drawQuestions();
  const first = at("questions").firstElementChild;
  first.scrollIntoView({ block: "nearest" });
  first.querySelector("input, .choice").focus();
}

function reset() {
  at("search").value = "";
  state = fresh();
  displayed = null;
  at("list").replaceChildren();
  store();
  drawRated();
  drawAttributes();
  at("rated-title").focus();
  return Promise.all([refresh(), ask()]);
}

async function start() {
  about = await api("recommender");
  state = restore();
  words = about.clicks ? CLICK_WORDS : RATING_WORDS;
  at("rate-title").textContent = words.act;
  at("others").textContent = words.others;
  at("rated-title").firstChild.textContent = `${words.done} `;
  at("about").textContent = about.demo
    ? `A demonstration: ${about.items} invented films, and the tastes of ${about.users} invented people`
    : `${about.name}: ${about.items} items, learned from ${about.users} people`;
  document.querySelector("main").hidden = false;
  at("token").hidden = true;
  at("secret").value = "";
  drawRated();
  drawAttributes();
  await Promise.all([refresh(), state.questions.length ? drawQuestions() : ask()]);
}

at("others").addEventListener("click", () => {
  at("search").value = "";
  ask();
});
at("search").addEventListener("input", searchSoon);
at("reset").addEventListener("click", reset);
at("token").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken(at("secret").value);
  attempt("start", start);
});
attempt("start", start);
