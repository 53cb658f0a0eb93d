#include "server/channel.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/file.h"

enum { READ_CHUNK = 65536 };
enum { PUBLISHING_ON = 1, PUBLISHING_REMOTE = 2, PUBLISHING_ALARM = 4 };

static bool known_type(uint32_t type)
{
    return (type >= CHANNEL_MEASURE && type <= CHANNEL_STOP) ||
           (type >= CHANNEL_MEASURED && type <= CHANNEL_POSSESSED) || type == CHANNEL_ERROR ||
           (type >= CHANNEL_GROWN && type <= CHANNEL_LOOK) ||
           (type >= CHANNEL_COSIGNED && type <= CHANNEL_POSSESS);
}

static void encode_header(struct buf *out, uint32_t type, uint64_t id, size_t payload_len)
{
    buf_append_u32be(out, type);
    buf_append_u64be(out, id);
    buf_append_u32be(out, (uint32_t)payload_len);
}

void channel_encode(struct buf *out, uint32_t type, uint64_t id, struct bytes payload)
{
    if (payload.len > CHANNEL_PAYLOAD_MAX || !known_type(type))
        abort(); /* our own bug: the other side would hang up */
    encode_header(out, type, id, payload.len);
    buf_append_bytes(out, payload);
}

static struct err decode_header(struct channel_frame *out, uint32_t *payload_len,
                                struct reader *header)
{
    out->type = read_u32be(header);
    out->id = read_u64be(header);
    *payload_len = read_u32be(header);
    if (!known_type(out->type))
        return err_set(ERR_MALFORMED, "channel: frame of unknown type %u", out->type);
    if (*payload_len > CHANNEL_PAYLOAD_MAX)
        return err_set(ERR_MALFORMED, "channel: frame of %u bytes, more than %d", *payload_len,
                       CHANNEL_PAYLOAD_MAX);
    return err_ok();
}

struct err channel_decode(struct channel_frame *out, size_t *used, struct bytes data)
{
    if (data.len < CHANNEL_HEADER_LEN) {
        *used = 0;
        return err_ok();
    }
    struct reader r = reader_of(data);
    struct channel_frame frame;
    uint32_t len;
    TRY(decode_header(&frame, &len, &r));
    if (reader_left(&r) < len) {
        *used = 0;
        return err_ok();
    }
    frame.payload = read_bytes(&r, len);
    *out = frame;
    *used = CHANNEL_HEADER_LEN + len;
    return err_ok();
}

struct err channel_read_available(int fd, struct buf *data, size_t max, bool *closed)
{
    uint8_t chunk[READ_CHUNK];
    while (data->len < max) {
        ssize_t n = recv(fd, chunk, sizeof chunk, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return err_ok();
        if (n < 0 && errno != ECONNRESET)
            return err_errno("channel: cannot read");
        *closed = n <= 0;
        if (*closed)
            return err_ok();
        buf_append(data, chunk, (size_t)n);
    }
    return err_ok();
}

/* As fd_write_all, but a closed other side is an error and no signal. */
static struct err send_all(int fd, struct bytes data)
{
    while (data.len > 0) {
        ssize_t n = send(fd, data.data, data.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            struct pollfd writable = {.fd = fd, .events = POLLOUT};
            poll(&writable, 1, -1);
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno("channel: cannot send");
        data.data += n;
        data.len -= (size_t)n;
    }
    return err_ok();
}

struct err channel_send(int fd, uint32_t type, uint64_t id, struct bytes payload)
{
    if (payload.len > CHANNEL_PAYLOAD_MAX || !known_type(type))
        return err_set(ERR_LIMIT, "channel: a frame of type %u with %zu bytes cannot be sent", type,
                       payload.len);
    BUF_AUTO header = BUF_INIT;
    encode_header(&header, type, id, payload.len);
    TRY(send_all(fd, buf_bytes(&header)));
    return send_all(fd, payload);
}

struct err channel_receive(int fd, struct channel_frame *out, struct buf *payload)
{
    uint8_t header[CHANNEL_HEADER_LEN];
    struct err e = fd_read_exact(fd, header, sizeof header);
    if (is_err(e))
        return err_context(e, "channel");
    struct reader r = reader_of(bytes_of(header, sizeof header));
    struct channel_frame frame;
    uint32_t len;
    TRY(decode_header(&frame, &len, &r));
    uint8_t chunk[65536];
    buf_clear(payload);
    for (uint32_t left = len; left > 0;) {
        uint32_t n = left < sizeof chunk ? left : (uint32_t)sizeof chunk;
        e = fd_read_exact(fd, chunk, n);
        if (is_err(e))
            return err_set(ERR_IO, "channel: the other side closed in the middle of a frame");
        buf_append(payload, chunk, n);
        left -= n;
    }
    frame.payload = buf_bytes(payload);
    *out = frame;
    return err_ok();
}

void channel_error_payload(struct buf *out, struct err e)
{
    buf_append_u32be(out, (uint32_t)e.code);
    buf_append_str(out, err_message());
}

struct err channel_error_decode(struct bytes payload)
{
    struct reader r = reader_of(payload);
    uint32_t code = read_u32be(&r);
    if (r.failed || code < ERR_UNTRUE || code > ERR_USAGE)
        return err_set(ERR_MALFORMED, "channel: an error without a known code");
    struct bytes message = read_bytes(&r, reader_left(&r));
    int len = message.len > 1000 ? 1000 : (int)message.len;
    /* Precision bounds the read; a NUL in the message ends it early, which is harmless. */
    return err_set((enum err_code)code, "%.*s", len, (const char *)message.data);
}

void publishing_encode(struct buf *out, const struct publishing *p)
{
    buf_append_u8(out, (uint8_t)((p->on ? PUBLISHING_ON : 0) | (p->remote ? PUBLISHING_REMOTE : 0) |
                                 (p->alarm ? PUBLISHING_ALARM : 0)));
    buf_append_u64be(out, p->n_waiting);
    buf_append_u64be(out, p->since_ms);
    buf_append_u64be(out, p->n_alarms);
    buf_append_u64be(out, p->n_refused);
    buf_append_u16be(out, (uint16_t)strlen(p->refused));
    buf_append_str(out, p->refused);
    buf_append_str(out, p->trouble);
}

struct err publishing_decode(struct publishing *out, struct bytes payload)
{
    struct reader r = reader_of(payload);
    uint8_t flags = read_u8(&r);
    struct publishing p = {.on = (flags & PUBLISHING_ON) != 0,
                           .remote = (flags & PUBLISHING_REMOTE) != 0,
                           .alarm = (flags & PUBLISHING_ALARM) != 0};
    p.n_waiting = read_u64be(&r);
    p.since_ms = read_u64be(&r);
    p.n_alarms = read_u64be(&r);
    p.n_refused = read_u64be(&r);
    struct bytes refused = read_prefixed_u16be(&r);
    struct bytes trouble = read_bytes(&r, reader_left(&r));
    if (r.failed || refused.len >= sizeof p.refused || trouble.len >= sizeof p.trouble)
        return err_set(ERR_MALFORMED, "channel: a frame on publishing that is none");
    if (refused.len > 0)
        memcpy(p.refused, refused.data, refused.len);
    if (trouble.len > 0)
        memcpy(p.trouble, trouble.data, trouble.len);
    *out = p;
    return err_ok();
}
