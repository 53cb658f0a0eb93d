#include "common/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_MAX = 1024 };

static _Thread_local char message[MESSAGE_MAX];

struct err err_set_message(enum err_code code, const char *format, ...)
{
    /* The arguments may hold err_message() itself, so the text is made apart. */
    char text[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memcpy(message, text, sizeof message);
    return (struct err){code};
}

struct err err_errno_message(const char *format, ...)
{
    int saved = errno;
    char text[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    enum err_code code = ERR_IO;
    if (saved == ENOENT)
        code = ERR_NOT_FOUND;
    else if (saved == ENOMEM)
        code = ERR_MEMORY;
    return err_set(code, "%.700s: %s", text, strerror(saved));
}

struct err err_context(struct err e, const char *format, ...)
{
    if (!is_err(e))
        return e;
    char text[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return err_set(e.code, "%.300s: %.700s", text, message);
}

const char *err_message(void)
{
    return message;
}

const char *err_code_name(enum err_code code)
{
    switch (code) {
    case ERR_NONE:
        return "ok";
    case ERR_UNTRUE:
        return "untrue";
    case ERR_MALFORMED:
        return "malformed";
    case ERR_UNSUPPORTED:
        return "unsupported";
    case ERR_NOT_FOUND:
        return "not-found";
    case ERR_LIMIT:
        return "limit";
    case ERR_MEMORY:
        return "memory";
    case ERR_IO:
        return "io";
    case ERR_BUSY:
        return "busy";
    case ERR_USAGE:
        return "usage";
    }
    return "unknown";
}
