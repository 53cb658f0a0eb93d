#include "http/http_address.h"

#include <netinet/in.h>
#include <string.h>

enum { PREFIX_LEN = 8, MAPPED_AT = 12 };

static const uint8_t mapped[MAPPED_AT] = {[10] = 0xff, [11] = 0xff};

struct http_address http_address_of(const struct sockaddr *from)
{
    struct http_address a = {{0}};
    if (from->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, from, sizeof v4);
        memcpy(a.bytes, mapped, MAPPED_AT);
        memcpy(a.bytes + MAPPED_AT, &v4.sin_addr, sizeof v4.sin_addr);
    } else if (from->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, from, sizeof v6);
        bool is_mapped = memcmp(&v6.sin6_addr, mapped, MAPPED_AT) == 0;
        memcpy(a.bytes, &v6.sin6_addr, is_mapped ? sizeof a.bytes : PREFIX_LEN);
    }
    return a;
}

bool http_address_of_peer(struct http_address *out, int fd)
{
    struct sockaddr_storage from;
    socklen_t len = sizeof from;
    memset(&from, 0, sizeof from);
    if (getpeername(fd, (struct sockaddr *)&from, &len) != 0)
        return false;
    *out = http_address_of((struct sockaddr *)&from);
    return true;
}

bool http_address_equal(const struct http_address *a, const struct http_address *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}
