/* A QEMU that is one static program, as far as hpcore sees it before the start: it listens where its
 * arguments say, greets at its monitor, and stands still. No loader, so no LD_PRELOAD. */
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define GREETING "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n"
#define DONE "{\"return\": {}}\r\n"

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int sock = socket(AF_UNIX, SOCK_STREAM, 0);
    size_t length = strcspn(path, ",");
    if (sock < 0 || length >= sizeof address.sun_path)
        _exit(1);
    memcpy(address.sun_path, path, length);
    if (bind(sock, (struct sockaddr *)&address, sizeof address) || listen(sock, 1))
        _exit(1);
    return sock;
}

int main(int count, char **words)
{
    char request[4096];
    int monitor = -1;
    for (int i = 1; i < count; i++) {
        const char *path = strstr(words[i], "path=");
        if (!strncmp(words[i], "unix:", 5))
            monitor = listen_at(words[i] + 5);
        else if (!strncmp(words[i], "socket,", 7) && path)
            listen_at(path + 5);
    }
    int client = accept(monitor, NULL, NULL);
    if (client < 0 || write(client, GREETING, sizeof GREETING - 1) < 0)
        return 1;
    while (read(client, request, sizeof request) > 0)
        if (write(client, DONE, sizeof DONE - 1) < 0)
            return 1;
    poll(NULL, 0, -1);
    return 0;
}
