// The conversation with a language model, or the texts that it continues if it has no chat template.

const conversation = { messages: [], running: null };
const view = { follows: true, top: 0 };

function entry(who, text) {
  const words = make("div", { class: "words" }, text);
  const element = make("article", { class: who === "You" ? "mine" : "answer" }, make("h3", {}, who), words);
  byId("log").append(element);
  view.follows = true;
  toEnd();
  byId("clear").disabled = false;
  return element;
}

function toEnd() {
  const log = byId("log");
  log.scrollTop = log.scrollHeight;
  view.top = log.scrollTop;
}

// The end of the messages is kept in view until the reader scrolls up, and again once the reader scrolls down to it.
// A gesture counts before it has moved anything: text that comes meanwhile would undo it.
function scrolled() {
  const log = byId("log");
  if (log.scrollTop < view.top) view.follows = false;
  else if (log.scrollTop > view.top && log.scrollHeight - log.scrollTop - log.clientHeight < 40) view.follows = true;
  view.top = log.scrollTop;
}

function gesture(event) {
  if (event.deltaY < 0 || ["ArrowUp", "PageUp", "Home"].includes(event.key) || event.type === "touchmove") view.follows = false;
  if (event.key !== "End") return;
  // By itself the browser would scroll to where the end is now.
  event.preventDefault();
  view.follows = true;
  follow();
}

function follow() {
  if (view.follows) toEnd();
}

function requestOf(model, text, url) {
  const body = { model: model.name, stream: true, stream_options: { include_usage: true }, ...numbers() };
  if (!model.chat && !url) return ["/v1/completions", { ...body, prompt: text }];
  const system = systemPrompt() ? [{ role: "system", content: systemPrompt() }] : [];
  const messages = [...system, ...conversation.messages, { role: "user", content: contentOf(text, url) }];
  return ["/v1/chat/completions", { ...body, messages }];
}

async function send(model) {
  const text = byId("prompt").value;
  const url = model?.pictures ? picture.url : "";
  if (conversation.running || !text.trim()) return;
  // A model sees one picture in a conversation; without a chat template it holds none.
  const restarted = url && conversation.messages.length > 0;
  if (url || !model.chat) conversation.messages = [];
  let path, body;
  try {
    [path, body] = requestOf(model, text, url);
  } catch (error) {
    announce(error.message);
    return;
  }
  byId("prompt").value = "";
  showPicture("");
  const asked = entry("You", text);
  if (url) asked.append(make("img", { class: "picture", src: url, alt: "The picture that was sent" }));
  if (restarted) asked.append(make("p", { class: "hint" }, "A new picture starts another conversation: what was said before was not sent."));
  const answer = entry(model.name, "");
  const found = { text: "", tokens: 0, reason: "", begun: performance.now(), first: 0, last: 0 };
  begin(answer);
  try {
    await receive(path, body, answer, found);
    finish(answer, figures(found));
  } catch (error) {
    if (error.name === "AbortError") finish(answer, [...figures(found), "stopped"]);
    else {
      refuse(error, asked, answer, text);
      if (url) showPicture(url, "again");
    }
  } finally {
    end();
  }
  if (found.text) conversation.messages.push({ role: "user", content: contentOf(text, url) }, { role: "assistant", content: found.text });
}

function begin(answer) {
  conversation.running = new AbortController();
  answer.setAttribute("aria-busy", "true");
  const hadFocus = document.activeElement === byId("send");
  byId("send").hidden = byId("clear").disabled = byId("model").disabled = true;
  byId("stop").hidden = false;
  if (hadFocus) byId("stop").focus();
  announce("The model answers.");
}

function end() {
  conversation.running = null;
  const hadFocus = document.activeElement === byId("stop");
  byId("stop").hidden = true;
  byId("send").hidden = byId("clear").disabled = byId("model").disabled = false;
  if (hadFocus) byId("prompt").focus();
}

async function receive(path, body, answer, found) {
  const response = await call(path, { body, signal: conversation.running.signal });
  const words = answer.querySelector(".words");
  const shown = words.appendChild(document.createTextNode(""));
  for await (const event of events(response)) {
    if (event.usage) found.tokens = event.usage.completion_tokens;
    for (const choice of event.choices) {
      const piece = choice.delta ? choice.delta.content : choice.text;
      found.reason = choice.finish_reason ?? found.reason;
      if (!piece) continue;
      found.last = performance.now();
      found.first ||= found.last;
      found.text += piece;
      shown.appendData(piece);
      follow();
    }
  }
}

// What was measured of an answer, in this page: the network is part of it.
function figures({ tokens, reason, begun, first, last }) {
  const parts = [];
  if (first) parts.push(`first token after ${duration(first - begun)}`);
  if (tokens > 1 && last > first) parts.push(`${rate((tokens - 1) / ((last - first) / 1000))} tokens/s`);
  if (tokens) parts.push(`${tokens} ${tokens === 1 ? "token" : "tokens"}`);
  if (reason === "length") parts.push("ended by the limit of tokens");
  return parts;
}

function finish(answer, parts) {
  answer.append(make("p", { class: "figures" }, parts.join(", ")));
  follow();
  answer.setAttribute("aria-busy", "false");
  announce(`The answer has ended: ${parts.join(", ")}.`);
}

// Tell why a request was not answered. The text comes back to where it was written.
function refuse(error, asked, answer, text) {
  answer.setAttribute("aria-busy", "false");
  announce("");
  if (error.status === 401) {
    asked.remove();
    answer.remove();
    askForKey(error.message);
  } else {
    answer.append(make("p", { class: "problem", role: "alert" }, error.message));
    follow();
  }
  byId("prompt").value ||= text;
}

function clear() {
  conversation.messages = [];
  byId("log").replaceChildren();
  byId("clear").disabled = true;
  byId("prompt").focus();
}
