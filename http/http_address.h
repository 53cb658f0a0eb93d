/*
 * Whom a connection is from, as far as fairness goes: an IPv4 address, or the 64 bits of an IPv6
 * address that a network gives out (a host has all the others to choose from).
 */
#ifndef HTTP_HTTP_ADDRESS_H
#define HTTP_HTTP_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include <sys/socket.h>

enum { HTTP_ADDRESS_LEN = 16 };

struct http_address {
    uint8_t bytes[HTTP_ADDRESS_LEN]; /* as IPv6, mapped if it is IPv4; zero behind a prefix */
};

/* Another family is an address like any other: all of it is one. */
struct http_address http_address_of(const struct sockaddr *from);
/* False where the other side has gone. */
bool http_address_of_peer(struct http_address *out, int fd);
bool http_address_equal(const struct http_address *a, const struct http_address *b);

#endif
