/*
 * Errors: one must-use result for everything that can fail.
 *
 * A function that can fail returns `struct err`. Its code is for the caller to act on, its message
 * (thread-local, err_message()) is for people: it names the thing, the reason and the remedy.
 * Only `main` and the server's edge print it. Outputs of a failed call are untouched unless a
 * header says otherwise.
 */
#ifndef COMMON_ERR_H
#define COMMON_ERR_H

#include <stdbool.h>

enum err_code {
    ERR_NONE = 0,
    ERR_UNTRUE,      /* well-formed, and false: a signature, a hash, a rule that does not hold */
    ERR_MALFORMED,   /* bytes that are not what they must be */
    ERR_UNSUPPORTED, /* well-formed, and something we do not do */
    ERR_NOT_FOUND,   /* a file, an entry, a key that is not there */
    ERR_LIMIT,       /* larger, longer or more than allowed */
    ERR_MEMORY,      /* out of memory */
    ERR_IO,          /* the operating system, the disk, the network, the TPM said no */
    ERR_BUSY,        /* may succeed later */
    ERR_USAGE,       /* the caller's or the user's request makes no sense */
};

struct err {
    enum err_code code;
};

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt_index, first) __attribute__((format(printf, fmt_index, first)))

/* The success value. */
static inline struct err err_ok(void)
{
    struct err none = {ERR_NONE};
    return none;
}

static inline bool is_err(struct err e)
{
    return e.code != ERR_NONE;
}

struct err err_set_message(enum err_code code, const char *format, ...) MUST_USE PRINTF_LIKE(2, 3);
struct err err_errno_message(const char *format, ...) MUST_USE PRINTF_LIKE(1, 2);

/* Tells the compiler that an error is one, so that it sees which outputs a success has set. */
static inline struct err err_certain(struct err e)
{
    if (e.code == ERR_NONE)
        __builtin_unreachable();
    return e;
}

/* err_set(code, format, ...): sets this thread's message (at most 1,023 bytes, longer ones are cut)
 * and returns the error. `code` is never ERR_NONE. */
#define err_set(...) err_certain(err_set_message(__VA_ARGS__))

/* err_errno(format, ...): as err_set, for a failed system call: appends ": " and strerror(errno);
 * code ERR_IO, or ERR_NOT_FOUND for ENOENT, ERR_MEMORY for ENOMEM. */
#define err_errno(...) err_certain(err_errno_message(__VA_ARGS__))

/* Puts "<context>: " before this thread's message and returns `e` with its code unchanged; a
 * success passes through and leaves the message alone. */
struct err err_context(struct err e, const char *format, ...) MUST_USE PRINTF_LIKE(2, 3);

/* The message of the last error of this thread; "" before the first. Valid until the next one. */
const char *err_message(void);

/* A word for the code, for machines: "untrue", "malformed", ... */
const char *err_code_name(enum err_code code);

/* Returns from the calling function with the error of `expr`, if it has one. */
#define TRY(expr)                                                                                  \
    do {                                                                                           \
        struct err try_err_ = (expr);                                                              \
        if (is_err(try_err_))                                                                      \
            return try_err_;                                                                       \
    } while (0)

#endif
