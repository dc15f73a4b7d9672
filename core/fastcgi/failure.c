/* failure - see failure.h. */
#include "fastcgi/failure.h"

const char *failure_name(enum failure failure)
{
    switch (failure) {
    case FAILURE_CONNECT:
        return "connect";
    case FAILURE_TIMEOUT:
        return "timeout";
    case FAILURE_CLOSED:
        return "closed";
    case FAILURE_PROTOCOL:
        return "protocol";
    case FAILURE_BUSY:
    case FAILURE_QUEUE:
        return "busy";
    }
    return "?";
}
