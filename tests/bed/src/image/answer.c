/* Answers every HTTP request on a port with 200 and "ok"; ends on SIGTERM, and after a request for /quit.
   usage: answer PORT */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char response[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
static const char quit[] = "GET /quit ";

static void end(int signal_number) {
    (void)signal_number;
    _exit(0);
}

/* Reads until the empty line that ends the headers; returns whether the request is for /quit. */
static int read_request(int connection) {
    char request[4096];
    size_t length = 0;
    while (length < sizeof request - 1) {
        ssize_t count = read(connection, request + length, sizeof request - 1 - length);
        if (count <= 0)
            break;
        length += (size_t)count;
        request[length] = 0;
        if (strstr(request, "\r\n\r\n"))
            break;
    }
    return length >= sizeof quit - 1 && strncmp(request, quit, sizeof quit - 1) == 0;
}

int main(int count, char **arguments) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    int reuse = 1;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (count != 2)
        return 2;
    signal(SIGTERM, end);
    signal(SIGPIPE, SIG_IGN);
    address.sin_port = htons((unsigned short)atoi(arguments[1]));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16))
        return 1;
    for (;;) {
        int connection = accept(listener, 0, 0);
        if (connection < 0)
            continue;
        int last = read_request(connection);
        ssize_t written = write(connection, response, sizeof response - 1);
        close(connection);
        if (last)
            return written == sizeof response - 1 ? 0 : 1;
    }
}
