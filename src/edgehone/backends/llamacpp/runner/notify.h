// Messages to systemd (sd_notify) without its library: https://www.freedesktop.org/software/systemd/man/sd_notify.html
#ifdef __cplusplus
extern "C" {
#endif

// Send a message such as "READY=1" to the socket in $NOTIFY_SOCKET; does nothing without one.
void notify(const char *message);

// Tell the watchdog that the program is at work, at most twice in the time that $WATCHDOG_USEC allows.
void notify_alive(void);

#ifdef __cplusplus
}
#endif
