#include "http/url.h"

#include <stdio.h>
#include <string.h>

#include <event2/http.h>

#include "common/text.h"

static struct err bad(const char *text, const char *why)
{
    char shown[84];
    return err_set(ERR_USAGE, "'%s': %s: give https://host or https://host:port",
                   printable(shown, bytes_of_str(text)), why);
}

/* "[::1]" loses its brackets. */
static bool copy_host(struct url *u, const char *host)
{
    size_t len = strlen(host);
    bool v6 = host[0] == '[' && len > 2 && host[len - 1] == ']';
    if (len == 0 || len >= sizeof u->host)
        return false;
    snprintf(u->host, sizeof u->host, "%.*s", (int)(v6 ? len - 2 : len), v6 ? host + 1 : host);
    snprintf(u->authority, sizeof u->authority, "%s:%u", host, u->port);
    return true;
}

static struct err take(struct url *u, const struct evhttp_uri *uri, const char *text, bool path_too)
{
    const char *scheme = evhttp_uri_get_scheme(uri), *path = evhttp_uri_get_path(uri);
    const char *host = evhttp_uri_get_host(uri);
    int port = evhttp_uri_get_port(uri);
    if (scheme == NULL || strcmp(scheme, "https") != 0)
        return bad(text, "only https is spoken");
    if (evhttp_uri_get_userinfo(uri) != NULL || evhttp_uri_get_query(uri) != NULL ||
        evhttp_uri_get_fragment(uri) != NULL ||
        (!path_too && path != NULL && path[0] != '\0' && strcmp(path, "/") != 0))
        return bad(text, "it has more than a host");
    if (port == 0 || port > UINT16_MAX)
        return bad(text, "no such port");
    u->port = port < 0 ? 443 : (uint16_t)port;
    if (host == NULL || !copy_host(u, host))
        return bad(text, "it has no host");
    return err_ok();
}

static struct err parse(struct url *out, char *prefix, const char *text)
{
    struct evhttp_uri *uri = evhttp_uri_parse(text);
    if (uri == NULL)
        return bad(text, "not a URL");
    struct url u = {0};
    struct err e = take(&u, uri, text, prefix != NULL);
    const char *path = evhttp_uri_get_path(uri);
    size_t len = path != NULL ? strlen(path) : 0;
    while (len > 0 && path[len - 1] == '/')
        len--;
    if (!is_err(e) && prefix != NULL && len > URL_PREFIX_MAX)
        e = bad(text, "its path is too long");
    if (!is_err(e) && prefix != NULL)
        snprintf(prefix, URL_PREFIX_MAX + 1, "%.*s", (int)len, len > 0 ? path : "");
    evhttp_uri_free(uri);
    TRY(e);
    *out = u;
    return err_ok();
}

struct err url_parse(struct url *out, const char *text)
{
    return parse(out, NULL, text);
}

struct err url_parse_prefix(struct url *out, char prefix[URL_PREFIX_MAX + 1], const char *text)
{
    return parse(out, prefix, text);
}
