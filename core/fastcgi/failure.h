/*
 * failure - why a request to a server has failed. Connections, leases and streams report it; the
 * attempts (exchange/attempt) decide by it whether another server is asked, health checks whether
 * the server is at fault. Scripts read the name as `err.kind`.
 */
#ifndef MG_FASTCGI_FAILURE_H
#define MG_FASTCGI_FAILURE_H

enum failure {
    FAILURE_CONNECT,  /* no connection to a server could be made */
    FAILURE_TIMEOUT,  /* a timeout of connecting, sending or reading */
    FAILURE_CLOSED,   /* the server closed the connection before END_REQUEST */
    FAILURE_PROTOCOL, /* the bytes that came are not a FastCGI reply */
    FAILURE_BUSY,     /* FCGI_OVERLOADED, FCGI_CANT_MPX_CONN */
    FAILURE_QUEUE,    /* the backend's queue was full, or the wait in it too long */
};

/* The name of a failure as `err.kind` has it: "connect", "timeout", ... FAILURE_BUSY and
 * FAILURE_QUEUE are both "busy". */
const char *failure_name(enum failure failure);

#endif
