// A rating as a group of radio buttons that look like stars; with many rating values, a drop-down list.

import { element } from "./api.js";

const MAX_STARS = 7;
let groups = 0;

/** Make the controls of one item. `onRating(rating)` is called at each change. */
export function stars(title, scale, rating, onRating) {
  if (scale.length > MAX_STARS) {
    const select = element("select", { ariaLabel: `Rating of ${title}` });
    select.append(element("option", { value: "", textContent: "not rated", disabled: true }));
    for (const value of [...scale].reverse()) {
      select.append(element("option", { value, textContent: value }));
    }
    select.value = rating ?? "";
    select.addEventListener("change", () => onRating(Number(select.value)));
    return select;
  }
  const name = `stars-${groups++}`;
  const group = element("fieldset", { className: "stars" });
  group.append(element("legend", { className: "hidden", textContent: `Rating of ${title}` }));
  for (const value of scale) {
    const input = element("input", {
      type: "radio",
      name,
      value,
      checked: value === rating,
      className: "hidden",
      ariaLabel: `${value} of ${scale.at(-1)}`,
    });
    input.addEventListener("change", () => onRating(value));
    const label = element("label", { title: `${value} of ${scale.at(-1)}` }, input);
    label.append(element("span", { textContent: "★", ariaHidden: "true" }));
    group.append(label);
  }
  return group;
}

/** Set another rating, or none, on controls that `stars` made. */
export function setRating(controls, rating) {
  if (controls.tagName === "SELECT") controls.value = rating ?? "";
  else for (const input of controls.querySelectorAll("input")) {
    input.checked = Number(input.value) === rating;
  }
}
