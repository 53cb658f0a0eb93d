#include "http/http_listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/util.h>

#include "common/file.h"
#include "common/text.h"

/* What the kernel holds for a client that does not read, in bytes; it would go up to megabytes. */
enum { SOCKET_OUTPUT = 256 * 1024 };

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static struct err parse(union address *out, socklen_t *len, const char *text)
{
    const char *colon = strrchr(text, ':');
    uint64_t port = 0;
    int n = sizeof *out;
    BUF_AUTO host = BUF_INIT;
    if (colon == text)
        buf_append_str(&host, "127.0.0.1");
    else if (colon != NULL)
        buf_append(&host, text, (size_t)(colon - text));
    buf_append_str(&host, ":1"); /* libevent knows no port 0 */
    memset(out, 0, sizeof *out);
    if (colon == NULL || is_err(decimal_decode(&port, bytes_of_str(colon + 1), UINT16_MAX)) ||
        evutil_parse_sockaddr_port(buf_str(&host), &out->any, &n) != 0)
        return err_set(ERR_USAGE,
                       "--listen %s: not an address (use 127.0.0.1:8443, [::1]:8443, "
                       "or :0 for any free port)",
                       text);
    *(out->any.sa_family == AF_INET6 ? &out->v6.sin6_port : &out->v4.sin_port) =
        htons((uint16_t)port);
    *len = (socklen_t)n;
    return err_ok();
}

struct err http_bind(int *out, const char *text)
{
    union address address;
    socklen_t len;
    TRY(parse(&address, &len, text));
    FD_AUTO fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno("cannot make a socket for %s", text);
    int yes = 1, output = SOCKET_OUTPUT;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    /* Connections inherit these. Without TCP_NODELAY the end of an answer waits for the client to
     * acknowledge its beginning, which clients put off by 40 ms. */
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &output, sizeof output);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (bind(fd, &address.any, len) != 0) {
        if (errno == EADDRINUSE)
            return err_set(ERR_BUSY,
                           "--listen %s: the port is in use (choose another one, or "
                           "stop what listens there)",
                           text);
        return err_errno("--listen %s: cannot bind", text);
    }
    *out = fd;
    fd = -1;
    return err_ok();
}

struct err http_listen(int fd)
{
    if (listen(fd, SOMAXCONN) != 0)
        return err_errno("cannot listen (another process took the port meanwhile)");
    return err_ok();
}

void http_url(struct buf *out, int fd)
{
    union address address;
    socklen_t len = sizeof address;
    char host[INET6_ADDRSTRLEN] = "";
    if (getsockname(fd, &address.any, &len) != 0)
        return;
    bool v6 = address.any.sa_family == AF_INET6;
    const void *bytes = v6 ? (const void *)&address.v6.sin6_addr : &address.v4.sin_addr;
    inet_ntop(address.any.sa_family, bytes, host, sizeof host);
    uint16_t port = ntohs(v6 ? address.v6.sin6_port : address.v4.sin_port);
    buf_printf(out, v6 ? "https://[%s]:%u" : "https://%s:%u", host, port);
}
