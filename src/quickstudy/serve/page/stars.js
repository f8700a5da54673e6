// A rating as a group of radio buttons that look like stars, or half stars; with many rating values, a slider.

import { element } from "./api.js";

const MAX_STARS = 11;
let groups = 0;

/** A number without more digits than one can tell apart. */
export const short = (value) => Number(value.toPrecision(3)).toString();

/** Make the controls of one item. `onRating(rating)` is called at each change. */
export function stars(title, scale, rating, onRating) {
  return scale.length > MAX_STARS
    ? slider(title, scale, rating, onRating)
    : radios(title, scale, rating, onRating);
}

/** Whether the scale is 0.5, 1, 1.5 ... up to a whole number. */
const isOfHalves = (scale) => scale.every((value, i) => value === (i + 1) / 2) && scale.length % 2 === 0;

function radios(title, scale, rating, onRating) {
  const name = `stars-${groups++}`;
  const halves = isOfHalves(scale);
  const group = element("fieldset", { className: scale.length > 7 && !halves ? "stars many" : "stars" });
  group.append(element("legend", { className: "hidden", textContent: `Rating of ${title}` }));
  scale.forEach((value, i) => {
    const text = `${short(value)} of ${short(scale.at(-1))}`;
    const input = element("input", {
      type: "radio",
      name,
      value,
      checked: value === rating,
      className: "hidden",
      ariaLabel: text,
    });
    input.addEventListener("change", () => onRating(value));
    const label = element("label", { title: text }, input);
    if (halves) label.className = i % 2 ? "right half" : "left half";
    label.append(element("span", { textContent: "★", ariaHidden: "true" }));
    group.append(label);
  });
  return group;
}

function slider(title, scale, rating, onRating) {
  const input = element("input", { type: "range", min: 0, max: scale.length - 1, step: 1 });
  input.ariaLabel = `Rating of ${title}`;
  const controls = element("span", { className: "slider" }, input, element("output"));
  controls.scale = scale;
  input.addEventListener("input", () => setRating(controls, scale[input.valueAsNumber]));
  input.addEventListener("change", () => onRating(scale[input.valueAsNumber]));
  setRating(controls, rating);
  return controls;
}

/** A button that says whether the user chose an item. `onChoice(isChosen)` is called at each change. */
export function choice(title, isChosen, onChoice) {
  const button = element("button", { type: "button", className: "choice" });
  button.ariaLabel = `Chose ${title}`;
  button.addEventListener("click", () => onChoice(button.ariaPressed !== "true"));
  setRating(button, isChosen ? 1 : undefined);
  return button;
}

/** Set another rating, or none, on controls that `stars` or `choice` made. */
export function setRating(controls, rating) {
  if (controls.className === "choice") {
    controls.ariaPressed = rating === undefined ? "false" : "true";
    controls.textContent = rating === undefined ? "Choose" : "✓ Chosen";
  } else if (controls.className === "slider") {
    const [input, output] = controls.children;
    const place = controls.scale.indexOf(rating);
    input.value = place < 0 ? (controls.scale.length - 1) / 2 : place;
    input.ariaValueText = output.textContent = rating === undefined ? "–" : short(rating);
  } else {
    for (const input of controls.querySelectorAll("input")) {
      input.checked = Number(input.value) === rating;
    }
  }
}
