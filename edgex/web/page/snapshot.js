// A snapshot: the PNG, and the record that it carries in its iTXt chunk, to look at and to save.
const byId = (id) => document.getElementById(id);
let links = [];

export async function takeSnapshot(button) {
  if (button.getAttribute("aria-busy") === "true") return;
  button.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch("/api/snapshot.png");
    if (!answer.ok) throw new Error(await answer.text());
    const png = await answer.arrayBuffer();
    show(png, recordIn(png));
  } finally {
    button.removeAttribute("aria-busy");
  }
}

function show(png, record) {
  links.forEach((link) => URL.revokeObjectURL(link));
  const text = JSON.stringify(record, null, 2);
  const picture = URL.createObjectURL(new Blob([png], { type: "image/png" }));
  const json = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  links = [picture, json];
  const name = `edgex-${record?.record?.name ?? "snapshot"}`;
  byId("shot-picture").src = picture;
  byId("shot-record").textContent = text;
  Object.assign(byId("shot-png"), { href: picture, download: `${name}.png` });
  Object.assign(byId("shot-json"), { href: json, download: `${name}.json` });
  byId("shot-dialog").showModal();
}

// Walks the chunks (length, type, content, checksum) to the text of the keyword "edgex".
export function recordIn(png) {
  const view = new DataView(png), bytes = new Uint8Array(png), decoder = new TextDecoder();
  for (let at = 8; at + 12 <= view.byteLength; at += 12 + view.getUint32(at)) {
    const content = bytes.subarray(at + 8, at + 8 + view.getUint32(at));
    const isText = decoder.decode(bytes.subarray(at + 4, at + 8)) === "iTXt";
    if (isText && decoder.decode(content.subarray(0, 6)) === "edgex\0") return JSON.parse(decoder.decode(content.subarray(10)));
  }
  return null;
}
