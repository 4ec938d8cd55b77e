#include "notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

void notify(const char *message) {
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!path || strlen(path) >= sizeof address.sun_path) return;
    memcpy(address.sun_path, path, strlen(path));
    if (*path == '@') address.sun_path[0] = 0;  // an abstract socket
    int socket_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket_ < 0) return;
    socklen_t length = offsetof(struct sockaddr_un, sun_path) + strlen(path);
    // A lost message is told by systemd itself: it starts the service again.
    // A full queue of the receiver must not stop the service; a later message tells the same.
    (void) !sendto(socket_, message, strlen(message), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *) &address, length);
    close(socket_);
}

void notify_alive(void) {
    static struct timespec last;
    const char *limit = getenv("WATCHDOG_USEC");
    if (!limit) return;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double passed = (now.tv_sec - last.tv_sec) * 1e6 + (now.tv_nsec - last.tv_nsec) / 1e3;
    if (passed < strtod(limit, NULL) / 2) return;
    last = now;
    notify("WATCHDOG=1");
}
