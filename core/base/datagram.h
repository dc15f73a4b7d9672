/*
 * datagram - a log whose lines are datagrams: for a syslog server, or for systemd-journald.
 *
 * Where they go and what they look like says a target, a line of text that
 * moongate.route.log_target makes of what a route says. A line waits in a buffer of base/log with
 * the head that it got when it was written, so that its time is right however late it is sent, and
 * also where another process sends it.
 *
 * The socket is connected to nobody: each datagram names its receiver. So the processes can share
 * one socket, and a receiver that was restarted is found by its path with the next line.
 */
#ifndef MG_BASE_DATAGRAM_H
#define MG_BASE_DATAGRAM_H

#include "base/addr.h"

enum datagram_form { DATAGRAM_NONE, DATAGRAM_SYSLOG, DATAGRAM_JOURNAL };

struct datagram {
    enum datagram_form form;
    int facility, severity; /* of syslog; the severity is that of lines without a level */
    bool rfc5424;           /* instead of RFC 3164 */
    bool has_host;          /* RFC 3164 with the name of this machine */
    char tag[33];
    char host[65];
    struct addr to;
};

#define DATAGRAM_MOST 8192 /* bytes of a syslog message; a longer line is cut */
#define DATAGRAM_HEAD 192  /* bytes before the text of a line, at most */

/* In a line for the journal, "TEXT<field>NAME=VALUE<field>NAME=VALUE", and for a line's end within
 * a text or a value. Neither of these bytes is in the text of a line itself. */
#define DATAGRAM_FIELD   '\x1f'
#define DATAGRAM_NEWLINE '\x1e'

/* Reads a target: "syslog FACILITY SEVERITY rfc3164|rfc5424 HOST TAG ADDRESS", where HOST is 0 or
 * 1, or "journal unix:PATH". True, or `form` is DATAGRAM_NONE: it is another target, or can't be
 * used. */
bool datagram_parse(const char *target, struct datagram *out);
/* Makes the socket. -1 and errno. */
int datagram_open(const struct datagram *d);

/* Writes what stands before the text of a line in the buffer; severity as in RFC 5424 §6.2.1.
 * Returns the number of bytes. */
size_t datagram_head(const struct datagram *d, int severity, char out[DATAGRAM_HEAD]);
/* Replaces the bytes that no text of a line may have, in place. */
void datagram_clean(char *text, size_t n);
/* Sends a line from the buffer, without its newline, as one datagram. Does not wait. 0, or errno;
 * EAGAIN: the receiver has no room. */
int datagram_send(const struct datagram *d, int fd, const char *line, size_t n);

#endif
