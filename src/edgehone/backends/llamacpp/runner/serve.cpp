#include "serve.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "notify.h"

namespace {
constexpr size_t longest_prompt = 1 << 20;  // bytes
constexpr int client_seconds = 10;          // for which a client may send or read nothing

void stop(int) { Model::stopped = true; }

int listen_on(const std::string & path) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) throw Failure("the path of the socket is too long: " + path);
    memcpy(address.sun_path, path.data(), path.size());
    struct stat before;
    if (!lstat(path.c_str(), &before) && S_ISSOCK(before.st_mode)) unlink(path.c_str());  // of a run that was killed
    int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server < 0 || bind(server, (sockaddr *) &address, sizeof address) || listen(server, 16))
        throw Failure("cannot listen on " + path + ": " + strerror(errno));
    return server;
}

bool send_all(int client, const std::string & text) {
    for (size_t sent = 0; sent < text.size();) {
        ssize_t now = send(client, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
        if (now <= 0) return false;
        sent += now;
    }
    return true;
}

// Return the prompt. Throws Failure if it is too long, or if the client stops sending.
std::string read_prompt(int client) {
    std::string prompt;
    char bytes[4096];
    for (ssize_t count; (count = recv(client, bytes, sizeof bytes, 0)) != 0;) {
        if (count < 0) throw Failure(std::string("the prompt was not received: ") + strerror(errno));
        prompt.append(bytes, count);
        if (prompt.size() > longest_prompt) throw Failure("the prompt is longer than 1 MiB");
    }
    return prompt;
}

void answer(Model & model, int client, int tokens) {
    timeval limit = {client_seconds, 0};
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    try {
        model.generate(model.tokenize(read_prompt(client)), tokens, [&](llama_token id) {
            return !model.ends(id) && send_all(client, model.piece(id));
        });
    } catch (const Failure & failure) {
        send_all(client, std::string("error: ") + failure.what() + "\n");
    }
}
}  // namespace

void serve(Model & model, const std::string & path, int tokens) {
    struct sigaction action = {};
    action.sa_handler = stop;
    sigaction(SIGTERM, &action, nullptr);
    sigaction(SIGINT, &action, nullptr);
    int server = listen_on(path);
    notify("READY=1");
    while (!Model::stopped) {
        notify_alive();
        pollfd waiting = {server, POLLIN, 0};
        if (poll(&waiting, 1, 500) <= 0) continue;
        int client = accept4(server, nullptr, nullptr, SOCK_CLOEXEC);
        if (client < 0) continue;
        answer(model, client, tokens);
        close(client);
    }
    notify("STOPPING=1");
    close(server);
    unlink(path.c_str());
}
