// The picture that the next message shows to a vision-language model. A conversation has one.

const picture = { url: "" };
const PICTURE_TYPES = ["image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp"];
// A picture is sent in base64, which takes 4 bytes for 3, in a request of at most 8 MiB.
const PICTURE_BYTES = 6e6;

// Show what is sent with the next message. An empty `url` removes it.
function showPicture(url, name = "") {
  picture.url = url;
  byId("shown").hidden = !url;
  byId("preview").src = url || "data:,";
  byId("preview").alt = url ? `Picture to send: ${name}` : "";
}

async function takePicture(file) {
  if (!file) return;
  if (!PICTURE_TYPES.includes(file.type) || file.size > PICTURE_BYTES) {
    const problem = file.size > PICTURE_BYTES ? `has ${decimals(file.size / 1e6, 1)} MB; at most 6 MB are sent` : "is no PNG, JPEG, WebP, GIF or BMP file";
    pictureProblem(`${file.name} ${problem}.`);
    return;
  }
  pictureProblem("");
  showPicture(await read(file), file.name);
  byId("prompt").focus();
}

function pictureProblem(text) {
  byId("picture-problem").textContent = text;
}

const read = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(reader.error));
    reader.readAsDataURL(file);
  });

// The content of a message: a text, or with a picture its parts.
const contentOf = (text, url) => (url ? [{ type: "image_url", image_url: { url } }, { type: "text", text }] : text);

byId("picture").addEventListener("change", async () => {
  await takePicture(byId("picture").files[0]);
  byId("picture").value = ""; // so that the same file can be chosen again
});
byId("choose-picture").addEventListener("click", () => byId("picture").click());
byId("no-picture").addEventListener("click", () => {
  showPicture("");
  byId("prompt").focus();
});
byId("prompt").addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
  if (!file || !chosen()?.pictures) return;
  event.preventDefault();
  takePicture(file);
});
