/* error - see error.h. */
#include "tls/error.h"

#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>

const char *tls_error(const char *fmt, ...)
{
    static char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return text;
}

const char *tls_error_reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return reason != NULL ? reason : "OpenSSL gives no reason";
}
