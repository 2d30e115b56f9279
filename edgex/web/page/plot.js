// Two small running plots on canvas: milliseconds per stage, stacked, and frames per second.
const SPAN_MS = 60_000, SHORTEST_MS = 15_000;

export const colorOf = (index) => getComputedStyle(document.documentElement).getPropertyValue(`--s${index % 8}`).trim();

export class Plot {
  // `unit` stands behind the largest value.
  constructor(canvas, unit) {
    Object.assign(this, { canvas, unit });
    this.points = []; // [time in ms, values]
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  add(values) {
    const now = performance.now();
    this.points.push([now, values]);
    while (this.points.length > 2 && this.points[1][0] < now - SPAN_MS) this.points.shift();
    if (!document.hidden) this.draw();
  }

  draw() {
    const { canvas } = this;
    const scale = Math.min(2, devicePixelRatio || 1);
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width || !this.points.length) return;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    const style = getComputedStyle(document.documentElement);
    const totals = this.points.map(([, values]) => values.reduce((sum, value) => sum + value, 0));
    const most = rounded(highest(totals) * 1.1);
    const y = (value) => height - 1 - (Math.min(value, most) / most) * (height - 16);
    const end = this.points.at(-1)[0];
    const spanMs = Math.min(SPAN_MS, Math.max(SHORTEST_MS, end - this.points[0][0]));
    const x = (time) => width - ((end - time) / spanMs) * width;
    pen.strokeStyle = style.getPropertyValue("--line");
    pen.lineWidth = 1;
    for (const value of [0, most / 2, most]) {
      pen.beginPath();
      pen.moveTo(0, Math.round(y(value)) + 0.5);
      pen.lineTo(width, Math.round(y(value)) + 0.5);
      pen.stroke();
    }
    const layers = this.points.at(-1)[1].length;
    const below = this.points.map(() => 0);
    for (let layer = 0; layer < layers; layer += 1) {
      pen.beginPath();
      this.points.forEach(([time], i) => pen.lineTo(x(time), y(below[i])));
      for (let i = this.points.length - 1; i >= 0; i -= 1) {
        below[i] += this.points[i][1][layer] ?? 0;
        pen.lineTo(x(this.points[i][0]), y(below[i]));
      }
      pen.fillStyle = colorOf(layer);
      pen.globalAlpha = layers > 1 ? 0.85 : 0.22;
      pen.fill();
    }
    pen.globalAlpha = 1;
    if (layers === 1) {
      pen.beginPath();
      this.points.forEach(([time, [value]]) => pen.lineTo(x(time), y(value)));
      pen.strokeStyle = colorOf(0);
      pen.lineWidth = 1.75;
      pen.stroke();
    }
    pen.fillStyle = style.getPropertyValue("--soft");
    pen.font = "11px system-ui, sans-serif";
    pen.fillText(`${most} ${this.unit}`, 0, 10);
  }
}

// The highest of all but the one in fifty that stands out: one slow frame must not flatten the rest.
function highest(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) * 0.98)] || 1;
}

function rounded(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].find((step) => step * power >= value) * power;
}
