// The body of a function that returns every text on the page whose contrast to its ground is below 4.5 : 1.
const canvas = document.createElement("canvas");
canvas.width = canvas.height = 1;
const pen = canvas.getContext("2d", { willReadFrequently: true });
function channels(colour) {
  pen.clearRect(0, 0, 1, 1);
  pen.fillStyle = colour;
  pen.fillRect(0, 0, 1, 1);
  const [red, green, blue, alpha] = pen.getImageData(0, 0, 1, 1).data;
  return { rgb: [red, green, blue], alpha: alpha / 255 };
}
function ground(element) {
  for (let here = element; here; here = here.parentElement) {
    const { rgb, alpha } = channels(getComputedStyle(here).backgroundColor);
    if (alpha === 1) return rgb;
    if (alpha > 0) throw new Error(`half transparent: ${here.className}`);
  }
  throw new Error("no ground");
}
function luminance(rgb) {
  const [red, green, blue] = rgb.map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
function contrast(colour, element) {
  const { rgb, alpha } = channels(colour);
  if (alpha === 0) return Infinity; // a share of nothing is not shown
  const [low, high] = [luminance(rgb), luminance(ground(element))].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}
const found = [];
let looked = 0;
function look(colour, element, text) {
  looked += 1;
  const here = contrast(colour, element);
  if (here < 4.5) found.push(`${text.trim().slice(0, 40)}: ${here.toFixed(2)}`);
}
for (const details of document.querySelectorAll("details")) details.open = true;
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  const isText = walker.currentNode.textContent.trim() && !element.closest("script, style, svg, .hidden");
  if (isText && element.checkVisibility()) look(getComputedStyle(element).color, element, walker.currentNode.textContent);
}
for (const field of document.querySelectorAll("input")) {
  look(getComputedStyle(field).color, field, `field ${field.ariaLabel}`);
  look(getComputedStyle(field, "::placeholder").color, field, `placeholder ${field.ariaLabel}`);
}
return { found, looked };
