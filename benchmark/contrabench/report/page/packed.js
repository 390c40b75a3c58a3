// What is packed is unpacked when it is looked at.
async function unpacked(letters) {
  const bytes = Uint8Array.from(atob(letters), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).text();
}
const kept = (id) => unpacked(document.getElementById(id).textContent);
// The points of every section; null until they are unpacked.
let sections = null;
