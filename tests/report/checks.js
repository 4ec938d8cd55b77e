// What a page is asked in the browser by test_browser.py: each function gives what is wrong, or what is shown.

const text_nodes = () => {
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walk.nextNode()) if (!walk.currentNode.parentElement.closest("script,style")) found.push(walk.currentNode);
  return found;
};

// Text beyond the window, or cut by what hides it. What scrolls within itself may be wide, but not on paper.
const too_wide = () => {
  const found = [];
  if (document.documentElement.scrollWidth > innerWidth) found.push("the page is wider than its window");
  for (const node of text_nodes()) {
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    const scrolls = !matchMedia("print").matches && node.parentElement.closest(".wide");
    if (box.width && !scrolls && (box.left < -1 || box.right > innerWidth + 1)) found.push(node.data);
  }
  for (const one of document.querySelectorAll("*")) {
    const hides = ["hidden", "clip"].includes(getComputedStyle(one).overflowX);
    if (hides && one.scrollWidth > one.clientWidth + 1) found.push(one.textContent);
  }
  return found;
};

// Pairs of names or ticks that lie on each other.
const overlaps = () => {
  const groups = [".names text", ".yt span"].map((all) => [...document.querySelectorAll(all)]);
  for (const holder of document.querySelectorAll(".ticks, .xt")) groups.push([...holder.children]);
  const found = [];
  for (const group of groups) {
    group.forEach((one, i) => {
      const a = one.getBoundingClientRect();
      for (const other of group.slice(i + 1)) {
        const b = other.getBoundingClientRect();
        const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (a.width && b.width && wide > 1 && high > 3) found.push([one.textContent, other.textContent]);
      }
    });
  }
  return found;
};

// WCAG 2.2: the ratio of relative luminances; 4.5 for text, 3 for marks.
const parts = (color) => color.match(/[\d.]+/g).map(Number);
const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const luminance = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
const contrast = (a, b) => {
  const [light, dark] = [luminance(a), luminance(b)].sort((p, q) => q - p);
  return (light + 0.05) / (dark + 0.05);
};
const behind = (one) => {
  for (; one; one = one.parentElement) {
    const color = parts(getComputedStyle(one).backgroundColor);
    if (color.length < 4 || color[3] > 0) return color;
  }
  return [255, 255, 255];
};

const pale = () => {
  const found = {};
  for (const node of text_nodes()) {
    const one = node.parentElement;
    if (!node.data.trim() || !one.getClientRects().length) continue;
    const style = getComputedStyle(one);
    const ratio = contrast(parts(one.closest("svg") ? style.fill : style.color), behind(one));
    if (ratio < 4.5) found[`${one.tagName}.${one.className} ${ratio.toFixed(2)}`] = node.data;
  }
  for (const one of document.querySelectorAll("main svg use")) {
    const style = getComputedStyle(one);
    const ratio = contrast(parts(one.closest(".points") ? style.stroke : style.fill), behind(one));
    if (ratio < 3) found[`mark ${ratio.toFixed(2)}`] = style.fill;
  }
  return found;
};

// The ranked candidates with their scores, as they are shown.
const ranked = () =>
  [...document.querySelectorAll(".ranking tbody tr")]
    .filter((row) => row.querySelector(".k").textContent)
    .map((row) => {
      const words = [...row.querySelector(".who > span").childNodes].filter((node) => node.nodeType === 3);
      return [words.map((node) => node.data).join(""), row.querySelector(".c").textContent];
    });
