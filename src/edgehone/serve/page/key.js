// The form that asks for an API key, and the button that forgets it.

function askForKey(problem) {
  byId("key-form").hidden = false;
  byId("key-problem").textContent = problem ? `The key was not accepted: ${problem}.` : "";
  byId("key").focus();
}

// What a request that failed with status 401 calls for. Returns whether it was that.
function needsKey(error) {
  if (error.status !== 401) return false;
  askForKey(sessionStorage.getItem(KEY) ? error.message : "");
  return true;
}

function keyIsAccepted() {
  byId("key-form").hidden = true;
  byId("forget").hidden = !sessionStorage.getItem(KEY);
}

// Calls `load` with each key that is given.
function whenKeyIsGiven(load) {
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, byId("key").value.trim());
    byId("key").value = "";
    load();
  });
  byId("forget").addEventListener("click", () => {
    sessionStorage.removeItem(KEY);
    location.reload();
  });
}
