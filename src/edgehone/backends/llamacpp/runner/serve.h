// A service on a Unix socket: a client sends a prompt and closes its side, and reads the text as it is generated.
#pragma once

#include <string>

#include "model.h"

// Serve one client after the other until SIGTERM. Tells systemd when it is ready, and its watchdog while it works.
void serve(Model & model, const std::string & path, int tokens);
