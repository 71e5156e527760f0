/** The few markers that are elements: the customer's courier, a door, a pick-up. */

const SVG = 'http://www.w3.org/2000/svg';

type Shape = [tag: string, attributes: Record<string, string>];

const SHAPES: Record<string, { viewBox: string; shapes: Shape[] }> = {
  courier: {
    viewBox: '-24 -24 48 48',
    shapes: [
      ['circle', { r: '19', class: 'ring' }],
      ['circle', { r: '15', class: 'disc' }],
      ['path', { d: 'M0-9.5 7 7.5 0 4-7 7.5Z', class: 'arrow' }],
      ['circle', { r: '5', class: 'rest' }],
    ],
  },
  door: {
    viewBox: '0 0 34 42',
    shapes: [
      ['path', { d: 'M17 41C10 32 2 25 2 16.500a15 15 0 0 1 30 0C32 25 24 32 17 41Z', class: 'pin' }],
      ['path', { d: 'M9.500 17 17 10.500l7.500 6.500M12 15.500V23h10v-7.500', class: 'house' }],
    ],
  },
  shop: {
    viewBox: '0 0 34 42',
    shapes: [
      ['path', { d: 'M17 41C10 32 2 25 2 16.500a15 15 0 0 1 30 0C32 25 24 32 17 41Z', class: 'pin' }],
      ['path', { d: 'M11 13.500h12l1 9.500H10zM14 15.500v-2.500a3 3 0 0 1 6 0v2.500', class: 'house' }],
    ],
  },
};

/** An element for MapLibre's Marker, drawn as `shape` and styled by `className`. */
export function markerElement(className: string, shape: keyof typeof SHAPES): HTMLElement {
  const element = document.createElement('div');
  element.className = className;
  element.setAttribute('aria-hidden', 'true');
  const { viewBox, shapes } = SHAPES[shape]!;
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', viewBox);
  for (const [tag, attributes] of shapes) {
    const child = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) child.setAttribute(name, value);
    svg.append(child);
  }
  element.append(svg);
  return element;
}
