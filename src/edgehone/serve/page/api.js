"use strict";
// Requests to the server. The key stays in this tab: sessionStorage ends with it.

const KEY = "edgehone-api-key";

class Failure extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

// The response of a request that succeeded. Throws Failure with the server's own words.
async function call(path, { body, signal } = {}) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const how = { method: body === undefined ? "GET" : "POST", headers, body: JSON.stringify(body), signal, cache: "no-store" };
  let response;
  try {
    response = await fetch(path, how);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server does not answer.", 0);
  }
  if (response.ok) return response;
  throw new Failure(await told(response), response.status);
}

// What the server says about an error, in the form of the OpenAI API or of the Open Inference Protocol.
async function told(response) {
  const text = await response.text();
  try {
    const { error } = JSON.parse(text);
    const message = typeof error === "string" ? error : error.message;
    const later = response.headers.get("Retry-After");
    return later ? `${message} (again in ${later} s)` : message;
  } catch {
    return `HTTP status ${response.status}`;
  }
}

// The data of each server-sent event, up to [DONE]. Throws Failure if the stream breaks off before it.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Failure("The connection to the server was lost.", 0);
    }
    if (part.done) throw new Failure("The answer broke off.", 0);
    const lines = (rest + part.value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      const found = JSON.parse(data);
      if (found.error) throw new Failure(found.error.message, 0);
      yield found;
    }
  }
}
