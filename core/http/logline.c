/* logline - see logline.h. */
#include "http/logline.h"

void logline_about(const struct request *req, struct log_about *about)
{
    about->method = req->method;
    about->uri = req->uri.origin;
    about->id = request_shown_id(req, about->hex);
    about->host = req->host;
    about->tenant = req->decision.tenant;
}

void logline_write(const struct request *req, struct log_quota *quota, enum log_level level,
                   const char *fmt, ...)
{
    struct log_about about;
    va_list args;
    if (level < log_threshold())
        return;
    logline_about(req, &about);
    va_start(args, fmt);
    log_vabout(&about, quota, level, fmt, args);
    va_end(args);
}
