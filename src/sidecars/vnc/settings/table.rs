//! Every setting there is. Add a row here, and the command line, the environment and the reference know it.

use crate::sidecars::setting::table;

/// Variables of images with Xvfb, x11vnc and websockify that change nothing here, and why: so that nobody waits for their effect.
pub const WITHOUT_EFFECT: &[(&str, &str)] =
    &[("VNC_PASSWORD", "only the port of VNC_RFB_PORT asks for a password, which VNC_RFB_PASSWORD_FILE has")];

table! {
    VNC_MODE: "serve, attach" = "serve",
        "Run the X server, or attach to the one that the app brings.";
    DISPLAY: "a display" = ":99",
        "The display that is served, or attached to.";
    XAUTHORITY: "a path",
        "File with the cookie of the display. Serving writes it, to /run/outrigger/xauth/cookie if this is not set; attaching reads it, if this is set.";
    VNC_COOKIE_MODE: "0440, 0444" = "0440",
        "Mode of that file: X clients of the same user or group may read it, or everybody who sees it.";
    VNC_MIT_SHM: "true, false" = "true",
        "Whether X clients may share memory with the X server, which is faster. Those of another user would fail at it, and some end.";
    VNC_GEOMETRY also "SCREEN_RESOLUTION": "WIDTHxHEIGHT, or WIDTHxHEIGHTx24" = "1280x800",
        "Size of the desktop when it starts.";
    VNC_RESIZE: "true, false" = "true",
        "Whether a browser window may resize the desktop.";
    VNC_SMALLEST: "WIDTHxHEIGHT" = "64x64",
        "The smallest the desktop may be.";
    VNC_LARGEST: "WIDTHxHEIGHT" = "7680x4320",
        "The largest the desktop may be.";
    VNC_VIEW_ONLY: "true, false" = "false",
        "Whether keyboard, mouse and clipboard of every viewer are ignored.";
    VNC_CLIPBOARD: "both, in, out, off" = "both",
        "Which way text may be copied: in is from the browser to the desktop.";
    VNC_CLIPBOARD_LIMIT: "1 to 8388608" = "262144",
        "The longest text that may be copied to the desktop, in bytes; also what a compressed one becomes, but in VNC_MODE=attach.";
    VNC_NAME: "text",
        "The desktop's name, as viewers see it; without it, the name of the host, which is the pod's, or of the command.";
    VNC_WINDOW_MANAGER: "openbox, none" = "openbox",
        "Which window manager runs on the desktop; none in VNC_MODE=attach.";
    VNC_X_RESTARTS: "a number" = "5",
        "How often in a row the X server is started again, or the program that attaches, before the sidecar ends with an error; a minute's life counts as success.";
    VNC_FOLDER: "a path" = "/run/outrigger/desk",
        "Folder of the socket by which viewers reach the X server, which has no password: only the sidecar may see it.";
    VNC_PORT: "a port" = "6080",
        "Port of the page and its WebSocket.";
    VNC_WEB_FOLDER: "a path",
        "Folder of noVNC, if it is neither in /usr/share/outrigger/novnc nor in novnc beside the program.";
    WEBSOCKET_PORT: "a port",
        "The same by its name in images where VNC_PORT was that of x11vnc; it counts for more.";
    VNC_RFB_PORT: "a port",
        "Port for programs that speak RFB over TCP, such as guacd. There is none unless VNC_RFB_PASSWORD_FILE is set, too, or VNC_GUACAMOLE_FOLDER.";
    VNC_RFB_HOST: "an IP address" = "127.0.0.1",
        "Address of that port. Its passwords keep out chance visitors alone: elsewhere than here, a NetworkPolicy has to say who reaches it.";
    VNC_RFB_PASSWORD_FILE: "a path",
        "File with the password of that port, 1 to 8 bytes, and in a second line, if there is one, that of those who may only look. It is read for each viewer.";
    VNC_GUACAMOLE_FOLDER: "a path",
        "Folder for a connection file, which outrigger guacamole-provisioner reads: the desktop is a connection of Guacamole then. It needs VNC_RFB_PORT and POD_IP, and the port's password is made there instead of being read from VNC_RFB_PASSWORD_FILE.";
    VNC_GUACAMOLE_NAME: "text" = "{pod}",
        "The connection's name; {pod} in it is POD_NAME.";
    VNC_GUACAMOLE_USERS: "names, comma-separated",
        "Users of Guacamole who may use it, beside its administrators.";
    POD_IP: "an IP address",
        "The address at which guacd finds the desktop.";
    POD_NAME: "text",
        "The name of the pod, for VNC_GUACAMOLE_NAME.";

    VNC_ORIGINS: "origins",
        "Origins whose pages may connect beside the desktop's own, such as https://desks.example.com; comma-separated.";
    VNC_CLAIMS_KEYS_FILE: "a path",
        "File with the keys of signed claims; with it or VNC_TICKETS, nobody comes in without a token.";
    VNC_CLAIMS_SESSION: "text",
        "The session that claims must be for; without it, the name of the host, which is the pod's.";
    VNC_TICKETS: "true, false" = "false",
        "Whether tickets are issued, each of which lets one viewer in once; whoever has the administrator's token gets them, so that must be there.";
    VNC_ADMINISTRATOR_TOKEN_FILE: "a path",
        "File with the token of those who may see and change who is connected, and get tickets; at least 16 characters.";
    VNC_TOKEN_IN_ADDRESS: "true, false" = "false",
        "Whether a token may also come in the address, as ?token=, where logs and histories keep it.";
    VNC_MAX_VIEWERS: "1 to 500" = "32",
        "How many viewers there may be at once.";
    VNC_MAX_VIEWERS_OF_USER: "1 to 500" = "8",
        "How many of each user; nobody's user is known without tickets or claims.";
    VNC_MAX_VIEWERS_OF_ADDRESS: "1 to 500",
        "How many from each IP address; without it, as many as there may be.";
    VNC_FORWARDED_HEADERS: "true, false" = "false",
        "Whether X-Forwarded-Host is the desktop's name, and the last entry of X-Forwarded-For a viewer's address: only behind a proxy that sets both itself.";
    VNC_TLS_FOLDER: "a path",
        "Folder with tls.crt and tls.key, as a Secret of type kubernetes.io/tls has them: VNC_PORT then speaks TLS alone. It is read again when it changes.";

    HEALTH_HOST: "an IP address" = "::",
        "Address of the health port.";
    HEALTH_PORT: "a port" = "15803",
        "Port of /startupz, /livez, /readyz, /healthz and /metrics.";
    LOG_LEVEL: "error, warn, info, debug" = "info",
        "How much is logged.";
    LOG_FORMAT: "text, json" = "text",
        "How log lines are written.";
}
