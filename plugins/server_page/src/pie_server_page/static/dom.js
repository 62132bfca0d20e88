// Small things that every part of the page needs.

export const byId = (id) => document.getElementById(id);

/** A new element: `make("p", {className: "help"}, "text", child)`. */
export function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-")) element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

/** Sets a text only if it is another one, so that nothing is laid out or read aloud for nothing. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A canvas of as many pixels as it covers, and what to draw with: [context, width, height] in CSS pixels. */
export function prepare(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { width, height } = canvas.getBoundingClientRect();
  const wide = Math.max(1, Math.round(width * ratio));
  const high = Math.max(1, Math.round(height * ratio));
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return [context, width, height];
}

/** A colour of the style sheet, such as "--accent". */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** The colour of the n-th of many things; neighbours differ, and all stand out from the background. */
export function hue(number) {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  return `hsl(${Math.round(number * 137.508) % 360} 65% ${dark ? 68 : 40}%)`;
}

export const figure = (value, digits = 0) =>
  value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });

export function seconds(value) {
  return value < 1 ? `${figure(value * 1000, value < 0.01 ? 1 : 0)} ms` : `${figure(value, 2)} s`;
}
