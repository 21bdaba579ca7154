// Small plots of figures that are looked at again and again, and how figures are written.

import { element } from './api.js';

const SI = ['', 'k', 'M', 'G', 'T'];
const BINARY = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

function scaled(value, step, units, digits) {
  let unit = 0;
  for (; value >= step && unit < units.length - 1; unit += 1) value /= step;
  return `${value.toFixed(value < 10 && (unit || digits) ? 1 : 0)} ${units[unit]}`.trim();
}
export const count = (value) => scaled(value, 1_000, SI, 0);
export const perSecond = (value) => `${scaled(value, 1_000, SI, 1)}/s`;
export const bytes = (value) => scaled(value, 1_024, BINARY, 0);
export const time = (seconds) => (!seconds ? '–' : seconds < 0.001 ? `${Math.round(seconds * 1e6)} µs` : seconds < 1 ? `${(seconds * 1e3).toFixed(1)} ms` : `${seconds.toFixed(1)} s`);
export const age = (seconds) =>
  seconds < 120 ? `${seconds} s` : seconds < 7_200 ? `${Math.round(seconds / 60)} min` : seconds < 172_800 ? `${Math.round(seconds / 3_600)} h` : `${Math.round(seconds / 86_400)} days`;

const NAMESPACE = 'http://www.w3.org/2000/svg';
function shape(name, attributes) {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  return made;
}

/** A line that is redrawn by `draw(values)`; two minutes wide at first, then as much as there is. */
export function line(attributes) {
  const [area, path] = [shape('path', { class: 'area' }), shape('path', {})];
  const svg = shape('svg', { preserveAspectRatio: 'none', ...attributes });
  svg.append(area, path);
  const draw = (values) => {
    const top = Math.max(...values) || 1;
    const width = Math.max(values.length, 60) - 1;
    const from = width + 1 - values.length;
    const points = values.map((y, x) => `${from + x} ${(98 - (y / top) * 94).toFixed(1)}`).join('L');
    svg.setAttribute('viewBox', `0 0 ${width} 100`);
    path.setAttribute('d', `M${points}`);
    area.setAttribute('d', `M${from} 100L${points}L${width} 100Z`);
  };
  return { svg, draw };
}

/** A plot with its title, the newest figure and the largest; `about` says what it is. */
export function plot(title, unit, about) {
  const value = element('strong', {}, '…');
  const most = element('small', { class: 'most' });
  const { svg, draw } = line({ role: 'img', 'aria-label': `${title}: no figure yet` });
  const figure = element('figure', { title: about }, element('figcaption', {}, element('span', {}, title), value), most, svg);
  return {
    figure,
    draw(values) {
      if (!values.length) return;
      const top = Math.max(...values);
      draw(values);
      value.textContent = unit(values.at(-1));
      most.textContent = `max ${unit(top)}`;
      svg.setAttribute('aria-label', `${title}: now ${unit(values.at(-1))}, at most ${unit(top)} in the last ten minutes`);
    },
  };
}
