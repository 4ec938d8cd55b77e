// The first process of an image whose server is llama-server.
//
//     start OPTION …    check the processor, then run llama-server with these options until it ends
//     start probe       exit code 0 if the server answers GET /health with 200: the model is loaded; else 1
//
// Compiled for the architecture's baseline, with FEATURES, the instruction sets that llama-server needs by the names in
// /proc/cpuinfo, and SERVER, its path. `start.py` is the same for images that run `edgehone serve`.
//
// It stays the first process, since the kernel gives signals of that one no default action, and llama-server handles
// SIGTERM only once the model is loaded: until then the signal would be ignored.
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef PORT
#define PORT 8080
#endif
#ifndef GRACE_MS
#define GRACE_MS 500
#endif
#define PATIENCE_SECONDS 5

static int has_word(const char *line, const char *word, size_t length) {
    for (const char *at = line; (at = strstr(at, word)); at += length)
        if ((at == line || strchr(" \t:", at[-1])) && strchr(" \n", at[length])) return 1;  // the end counts as one
    return 0;
}

// Prints the instruction sets that the processor lacks; returns 1 if there are any.
static int lacks_instructions(void) {
    static char line[1 << 16];
    FILE *info = fopen("/proc/cpuinfo", "r");
    int found = 0, lacks = 0;
    while (info && !found && fgets(line, sizeof line, info))
        found = !strncmp(line, "flags", 5) || !strncmp(line, "Features", 8);
    if (info) fclose(info);
    if (!found) {
        fputs("warning: /proc/cpuinfo does not say what this processor has, so it is not checked\n", stderr);
        return 0;
    }
    char names[] = FEATURES;
    for (char *name = strtok(names, " "); name; name = strtok(NULL, " ")) {
        if (has_word(line, name, strlen(name))) continue;
        fprintf(stderr, "%s%s", lacks ? ", " : "error: this processor lacks ", name);
        lacks = 1;
    }
    if (lacks)
        fputs(", which the programs of this image were compiled for\n"
              "       run it on another machine, or package the bundle with --set cpu=…\n", stderr);
    return lacks;
}

static int probe(void) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
    const char *request = "GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n";
    char answer[64] = "";
    int client = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(client, (struct sockaddr *) &to, sizeof to) || send(client, request, strlen(request), MSG_NOSIGNAL) < 0 ||
        recv(client, answer, sizeof answer - 1, 0) < 0) {
        fprintf(stderr, "health: %s\n", strerror(errno));
        return 1;
    }
    if (strncmp(answer, "HTTP/1.", 7) == 0 && strncmp(answer + 8, " 200", 4) == 0) return 0;
    answer[strcspn(answer, "\r\n")] = 0;
    fprintf(stderr, "health: the answer was '%s'\n", answer);
    return 1;
}

static void run_server(char **arguments, const sigset_t *old, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    sigprocmask(SIG_SETMASK, old, NULL);
    arguments[0] = SERVER;
    execv(SERVER, arguments);
    fprintf(stderr, "error: cannot run %s: %s\n", SERVER, strerror(errno));
    _exit(127);
}

// Waits until the server ends; returns the exit code. The first signal is passed on. What then still runs is killed, which
// is 0 too: llama-server has cut the answers under way by then, and waits up to 30 s for streams that it tells nothing.
static int wait_for_server(pid_t server, const sigset_t *signals) {
    const struct timespec grace = {GRACE_MS / 1000, GRACE_MS % 1000 * 1000000L};
    for (int asked = 0;;) {
        int status, signal = asked ? sigtimedwait(signals, NULL, &grace) : sigwaitinfo(signals, NULL);
        if (signal < 0 && errno == EAGAIN) kill(server, SIGKILL);
        if ((signal == SIGTERM || signal == SIGINT) && !asked) {
            asked = 1;
            kill(server, SIGTERM);
        }
        for (pid_t ended; (ended = waitpid(-1, &status, WNOHANG)) > 0;) {
            if (ended != server) continue;
            if (WIFEXITED(status)) return WEXITSTATUS(status);
            return asked && (WTERMSIG(status) == SIGTERM || WTERMSIG(status) == SIGKILL) ? 0 : 128 + WTERMSIG(status);
        }
    }
}

int main(int count, char **arguments) {
    sigset_t signals, old;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, &old);
    if (count == 2 && !strcmp(arguments[1], "probe")) return probe();
    if (lacks_instructions()) return 2;
    pid_t parent = getpid(), server = fork();
    if (server == 0) run_server(arguments, &old, parent);
    if (server < 0) {
        fprintf(stderr, "error: cannot begin a process: %s\n", strerror(errno));
        return 1;
    }
    return wait_for_server(server, &signals);
}
