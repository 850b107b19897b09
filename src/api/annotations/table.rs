//! Every annotation there is. Add a row here, and validation, the reference and `explain` know it.

use super::{Key, ValueKind};

/// What we write on a pod: what was added, what was not and why. Not a setting.
pub const STATUS: &str = "outrigger.dev/status";
/// The label that makes a namespace's annotations defaults for its pods.
pub const DEFAULTS_LABEL: &str = "outrigger.dev/defaults";
/// The value of [`DEFAULTS_LABEL`] that switches it on.
pub const DEFAULTS_ENABLED: &str = "enabled";
/// The value of [`INJECT`] that opts a pod out.
pub const NONE: &str = "none";

/// Turns each row into a constant and all of them into [`TABLE`], so that none can be left out.
macro_rules! table {
    ($($constant:ident: $name:literal, $kind:expr, default $default:expr, variable $variable:expr, $summary:literal;)*) => {
        $(
            #[doc = $summary]
            pub const $constant: Key =
                Key { name: $name, kind: $kind, default: $default, summary: $summary, variable: $variable };
        )*

        /// The table, in the order the reference shows it.
        pub const TABLE: &[&Key] = &[$(&$constant),*];
    };
}

table! {
    INJECT: "outrigger.dev/inject", ValueKind::Sidecars, default None, variable None,
        "Which sidecars the pod gets; none opts it out of its namespace's defaults.";
    NATIVE_SIDECAR: "outrigger.dev/native-sidecar", ValueKind::Word(&["auto", "true", "false"]), default Some("auto"), variable None,
        "Whether sidecars are native (init containers that keep running); auto is native unless a mesh proxy in the pod is a plain container.";

    VNC_CONTAINERS: "vnc.outrigger.dev/containers", ValueKind::Containers, default None, variable None,
        "Whose windows are shown; without it, every container of the pod that no injector added.";
    VNC_MODE: "vnc.outrigger.dev/mode", ValueKind::Word(&["serve", "attach"]), default Some("serve"), variable Some("VNC_MODE"),
        "Whether the sidecar runs the X server, or attaches to the one that the chosen container brings.";
    VNC_GEOMETRY: "vnc.outrigger.dev/geometry", ValueKind::Geometry, default Some("1280x800"), variable Some("VNC_GEOMETRY"),
        "Size of the desktop when it starts.";
    VNC_RESIZE: "vnc.outrigger.dev/resize", ValueKind::Boolean, default Some("true"), variable Some("VNC_RESIZE"),
        "Whether a browser window may resize the desktop.";
    VNC_VIEW_ONLY: "vnc.outrigger.dev/view-only", ValueKind::Boolean, default Some("false"), variable Some("VNC_VIEW_ONLY"),
        "Whether keyboard, mouse and clipboard of every viewer are ignored.";
    VNC_CLIPBOARD: "vnc.outrigger.dev/clipboard", ValueKind::Word(&["both", "in", "out", "off"]), default Some("both"), variable Some("VNC_CLIPBOARD"),
        "Which way text may be copied: in is from the browser to the desktop.";
    VNC_CLIPBOARD_LIMIT: "vnc.outrigger.dev/clipboard-limit", ValueKind::Integer(1, 8_388_608), default Some("262144"), variable Some("VNC_CLIPBOARD_LIMIT"),
        "The longest text that may be copied to the desktop, in bytes.";
    VNC_NAME: "vnc.outrigger.dev/name", ValueKind::Text, default None, variable Some("VNC_NAME"),
        "The desktop's name, as viewers see it; without it, the pod's.";
    VNC_SHARED_MEMORY: "vnc.outrigger.dev/shared-memory", ValueKind::Quantity, default None, variable None,
        "Size of a /dev/shm for the chosen containers, which browsers need; it counts against their memory limit.";
    VNC_WINDOW_MANAGER: "vnc.outrigger.dev/window-manager", ValueKind::Word(&["openbox", "none"]), default Some("openbox"), variable Some("VNC_WINDOW_MANAGER"),
        "Which window manager runs on the desktop.";
    VNC_DISPLAY: "vnc.outrigger.dev/display", ValueKind::Display, default Some(":99"), variable None,
        "The X display: the one we serve, or the one to attach to.";
    VNC_PORT: "vnc.outrigger.dev/port", ValueKind::Integer(1024, 65535), default Some("6080"), variable Some("VNC_PORT"),
        "Port of the WebSocket bridge, named vnc-ws on the container.";
    VNC_RFB_PORT: "vnc.outrigger.dev/rfb-port", ValueKind::Integer(1024, 65535), default Some("5900"), variable None,
        "Port at which guacd finds a desktop that guacamole.outrigger.dev/desktop registers, named vnc-rfb on the container. Needs that annotation.";
    VNC_ACCESS_SECRET: "vnc.outrigger.dev/access-secret", ValueKind::Name, default None, variable None,
        "Secret that says who may come in, mounted into the sidecar alone: its key claims-keys signs claims, administrator-token gets tickets; what is missing is off, and without a token nobody comes in.";
    VNC_SESSION: "vnc.outrigger.dev/session", ValueKind::Text, default None, variable Some("VNC_CLAIMS_SESSION"),
        "The session that signed claims must be for; without it, the pod's name. Needs access-secret.";
    VNC_TOKEN_IN_ADDRESS: "vnc.outrigger.dev/token-in-address", ValueKind::Boolean, default Some("false"), variable Some("VNC_TOKEN_IN_ADDRESS"),
        "Whether a token may also come in the WebSocket's address, as ?token=, where logs and histories keep it. Needs access-secret.";
    VNC_ORIGINS: "vnc.outrigger.dev/origins", ValueKind::Origins, default None, variable Some("VNC_ORIGINS"),
        "Origins whose pages may connect, beside the desktop's own.";
    VNC_FORWARDED_HEADERS: "vnc.outrigger.dev/forwarded-headers", ValueKind::Boolean, default Some("false"), variable Some("VNC_FORWARDED_HEADERS"),
        "Whether X-Forwarded-Host and X-Forwarded-For are believed: only where nobody reaches the port but a proxy that sets both itself.";
    VNC_MAX_VIEWERS: "vnc.outrigger.dev/max-viewers", ValueKind::Integer(1, 500), default Some("32"), variable Some("VNC_MAX_VIEWERS"),
        "How many viewers there may be at once.";
    VNC_MAX_VIEWERS_OF_USER: "vnc.outrigger.dev/max-viewers-of-user", ValueKind::Integer(1, 500), default Some("8"), variable Some("VNC_MAX_VIEWERS_OF_USER"),
        "How many viewers there may be of each user that a token names.";
    VNC_MAX_VIEWERS_OF_ADDRESS: "vnc.outrigger.dev/max-viewers-of-address", ValueKind::Integer(1, 500), default None, variable Some("VNC_MAX_VIEWERS_OF_ADDRESS"),
        "How many viewers there may be from each IP address; without it, as many as there may be at all.";
    VNC_TLS_SECRET: "vnc.outrigger.dev/tls-secret", ValueKind::Name, default None, variable None,
        "Secret of type kubernetes.io/tls, mounted into the sidecar alone: its port then speaks TLS, and follows when the certificate changes.";
    VNC_IMAGE: "vnc.outrigger.dev/image", ValueKind::Image, default None, variable None,
        "Image of the sidecar; without it, the installation's.";
    VNC_USER_ID: "vnc.outrigger.dev/user-id", ValueKind::Integer(1, 2_147_483_647), default None, variable None,
        "User the sidecar runs as; without it, the chosen containers' where they agree, else 1000.";
    VNC_HEALTH_PORT: "vnc.outrigger.dev/health-port", ValueKind::Integer(1024, 65535), default Some("15803"), variable Some("HEALTH_PORT"),
        "Port on which the kubelet probes the sidecar.";
    VNC_LOG_LEVEL: "vnc.outrigger.dev/log-level", ValueKind::Word(&["error", "warn", "info", "debug"]), default Some("info"), variable Some("LOG_LEVEL"),
        "How much the sidecar logs.";
    VNC_CPU_REQUEST: "vnc.outrigger.dev/cpu-request", ValueKind::Quantity, default None, variable None,
        "CPU reserved for the sidecar; without it, the installation's.";
    VNC_CPU_LIMIT: "vnc.outrigger.dev/cpu-limit", ValueKind::Quantity, default None, variable None,
        "CPU the sidecar may use; without it, the installation's.";
    VNC_MEMORY_REQUEST: "vnc.outrigger.dev/memory-request", ValueKind::Quantity, default None, variable None,
        "Memory reserved for the sidecar; without it, the installation's.";
    VNC_MEMORY_LIMIT: "vnc.outrigger.dev/memory-limit", ValueKind::Quantity, default None, variable None,
        "Memory the sidecar may use; without it, the installation's.";

    FILE_SYNC_FOLDER: "file-sync.outrigger.dev/folder", ValueKind::Path, default None, variable Some("FOLDER"),
        "Where the files appear, read-only, in the chosen containers; required.";
    FILE_SYNC_VOLUME: "file-sync.outrigger.dev/volume", ValueKind::Name, default None, variable None,
        "Volume of the pod that the files are written to; without it, one is added.";
    FILE_SYNC_LABEL: "file-sync.outrigger.dev/label", ValueKind::LabelKey, default None, variable Some("LABEL"),
        "Label that ConfigMaps and Secrets must have to be mirrored; this or names is required.";
    FILE_SYNC_LABEL_VALUE: "file-sync.outrigger.dev/label-value", ValueKind::LabelValue, default None, variable Some("LABEL_VALUE"),
        "Value the label must have; without it, any.";
    FILE_SYNC_KINDS: "file-sync.outrigger.dev/kinds", ValueKind::Word(&["configmaps", "secrets", "both"]), default Some("configmaps"), variable Some("RESOURCE"),
        "What is mirrored.";
    FILE_SYNC_NAMESPACES: "file-sync.outrigger.dev/namespaces", ValueKind::Namespaces, default None, variable Some("NAMESPACE"),
        "Where to look; without it, in the pod's own namespace.";
    FILE_SYNC_NAMES: "file-sync.outrigger.dev/names", ValueKind::Names, default None, variable Some("RESOURCE_NAME"),
        "Mirror only the objects of these names.";
    FILE_SYNC_CONTAINERS: "file-sync.outrigger.dev/containers", ValueKind::Containers, default None, variable None,
        "Who sees the folder; without it, every container and init container of the pod that no injector added.";
    FILE_SYNC_MODE: "file-sync.outrigger.dev/mode", ValueKind::Word(&["watch", "poll", "once"]), default Some("watch"), variable Some("METHOD"),
        "Follow changes, look again at intervals, or mirror once before the app starts.";
    FILE_SYNC_INTERVAL: "file-sync.outrigger.dev/interval", ValueKind::Duration, default Some("60s"), variable Some("POLL_INTERVAL"),
        "Time between looks in mode poll.";
    FILE_SYNC_FOLDER_ANNOTATION: "file-sync.outrigger.dev/folder-annotation", ValueKind::LabelKey, default Some("k8s-sidecar-target-directory"), variable Some("FOLDER_ANNOTATION"),
        "Annotation by which a ConfigMap or Secret names a folder of its own below the shared one.";
    FILE_SYNC_UNIQUE_FILENAMES: "file-sync.outrigger.dev/unique-filenames", ValueKind::Boolean, default Some("false"), variable Some("UNIQUE_FILENAMES"),
        "Whether file names carry namespace, kind and name of their object, so that equal keys don't meet.";
    FILE_SYNC_FILE_MODE: "file-sync.outrigger.dev/file-mode", ValueKind::FileMode, default None, variable Some("DEFAULT_FILE_MODE"),
        "Mode of the files, in octal; without it, 0644 for ConfigMaps and 0440 for Secrets.";
    FILE_SYNC_PUBLISH: "file-sync.outrigger.dev/publish", ValueKind::Word(&["each", "together"]), default Some("each"), variable Some("PUBLISH"),
        "Whether each file changes by itself, or all of a batch at once, as in the kubelet's volumes.";
    FILE_SYNC_URL_REFRESH: "file-sync.outrigger.dev/url-refresh", ValueKind::Duration, default Some("0"), variable Some("URL_REFRESH"),
        "How often the address in a .url key is asked whether its contents have changed; 0 is never.";
    FILE_SYNC_NOTIFY_URL: "file-sync.outrigger.dev/notify-url", ValueKind::Url, default None, variable Some("REQ_URL"),
        "Address that is called after files changed.";
    FILE_SYNC_NOTIFY_METHOD: "file-sync.outrigger.dev/notify-method", ValueKind::Word(&["GET", "POST"]), default Some("GET"), variable Some("REQ_METHOD"),
        "How it is called.";
    FILE_SYNC_NOTIFY_PAYLOAD: "file-sync.outrigger.dev/notify-payload", ValueKind::Text, default None, variable Some("REQ_PAYLOAD"),
        "Body of a POST.";
    FILE_SYNC_NOTIFY_SECRET: "file-sync.outrigger.dev/notify-secret", ValueKind::Name, default None, variable None,
        "Secret with keys username and password for the call; it is mounted as files, whose paths REQ_USERNAME_FILE and REQ_PASSWORD_FILE carry.";
    FILE_SYNC_NOTIFY_INITIAL: "file-sync.outrigger.dev/notify-initial", ValueKind::Boolean, default Some("true"), variable Some("REQ_SKIP_INIT"),
        "Whether the first sync is notified, too.";
    FILE_SYNC_NOTIFY_RETRY_5XX: "file-sync.outrigger.dev/notify-retry-5xx", ValueKind::Boolean, default Some("true"), variable Some("ENABLE_5XX"),
        "Whether an answer of 500 and above is tried again.";
    FILE_SYNC_SCRIPT: "file-sync.outrigger.dev/script", ValueKind::Path, default None, variable Some("SCRIPT"),
        "Program in the sidecar that is run after files changed, before the notification.";
    FILE_SYNC_IGNORE_PROCESSED: "file-sync.outrigger.dev/ignore-processed", ValueKind::Boolean, default Some("false"), variable Some("IGNORE_ALREADY_PROCESSED"),
        "Whether an object whose version was handled before is passed over.";
    FILE_SYNC_IMAGE: "file-sync.outrigger.dev/image", ValueKind::Image, default None, variable None,
        "Image of the sidecar; without it, the installation's.";
    FILE_SYNC_USER_ID: "file-sync.outrigger.dev/user-id", ValueKind::Integer(1, 2_147_483_647), default None, variable None,
        "User the sidecar runs as; without it, the pod's, else 1000.";
    FILE_SYNC_HEALTH_PORT: "file-sync.outrigger.dev/health-port", ValueKind::Integer(1024, 65535), default Some("15801"), variable Some("HEALTH_PORT"),
        "Port on which the kubelet probes the sidecar.";
    FILE_SYNC_LOG_LEVEL: "file-sync.outrigger.dev/log-level", ValueKind::Word(&["error", "warn", "info", "debug"]), default Some("info"), variable Some("LOG_LEVEL"),
        "How much the sidecar logs.";
    FILE_SYNC_CPU_REQUEST: "file-sync.outrigger.dev/cpu-request", ValueKind::Quantity, default None, variable None,
        "CPU reserved for the sidecar; without it, the installation's.";
    FILE_SYNC_CPU_LIMIT: "file-sync.outrigger.dev/cpu-limit", ValueKind::Quantity, default None, variable None,
        "CPU the sidecar may use; without it, the installation's.";
    FILE_SYNC_MEMORY_REQUEST: "file-sync.outrigger.dev/memory-request", ValueKind::Quantity, default None, variable None,
        "Memory reserved for the sidecar; without it, the installation's.";
    FILE_SYNC_MEMORY_LIMIT: "file-sync.outrigger.dev/memory-limit", ValueKind::Quantity, default None, variable None,
        "Memory the sidecar may use; without it, the installation's.";

    GUACAMOLE_CONNECTIONS: "guacamole.outrigger.dev/connections", ValueKind::Names, default None, variable None,
        "Secrets with connections; each is mounted below the connections folder; this or desktop is required.";
    GUACAMOLE_DESKTOP: "guacamole.outrigger.dev/desktop", ValueKind::Text, default None, variable None,
        "Name under which the pod's own desktop becomes a connection; {pod} in it is the pod's name, and adds it to the owner's. Needs the sidecar vnc.";
    GUACAMOLE_DESKTOP_USERS: "guacamole.outrigger.dev/desktop-users", ValueKind::Text, default None, variable None,
        "Users of Guacamole who may use that connection, comma-separated. Needs desktop.";
    GUACAMOLE_CONFIGURATION: "guacamole.outrigger.dev/configuration", ValueKind::Name, default None, variable None,
        "Secret with guacamole.properties, from which the database password is read; this or configuration-volume is required.";
    GUACAMOLE_CONFIGURATION_VOLUME: "guacamole.outrigger.dev/configuration-volume", ValueKind::Name, default None, variable None,
        "Volume of the pod with guacamole.properties at its top or in its folder guacamole, instead of a Secret.";
    GUACAMOLE_CONNECTIONS_FOLDER: "guacamole.outrigger.dev/connections-folder", ValueKind::Path, default Some("/connections"), variable Some("CONNECTIONS_DIR"),
        "Where the Secrets are mounted in the sidecar.";
    GUACAMOLE_CONFIGURATION_FOLDER: "guacamole.outrigger.dev/configuration-folder", ValueKind::Path, default Some("/config"), variable Some("CONFIG_DIR"),
        "Where the configuration is mounted in the sidecar.";
    GUACAMOLE_DATABASE_HOST: "guacamole.outrigger.dev/database-host", ValueKind::Host, default Some("localhost"), variable Some("DB_HOST"),
        "Host of Guacamole's PostgreSQL.";
    GUACAMOLE_DATABASE_PORT: "guacamole.outrigger.dev/database-port", ValueKind::Integer(1, 65535), default Some("5432"), variable Some("DB_PORT"),
        "Port of Guacamole's PostgreSQL.";
    GUACAMOLE_DATABASE_NAME: "guacamole.outrigger.dev/database-name", ValueKind::Text, default Some("guacamole_db"), variable Some("DB_NAME"),
        "Name of Guacamole's database.";
    GUACAMOLE_DATABASE_USER: "guacamole.outrigger.dev/database-user", ValueKind::Text, default Some("guacamole"), variable Some("DB_USER"),
        "Role that owns Guacamole's tables.";
    GUACAMOLE_STARTUP_DELAY: "guacamole.outrigger.dev/startup-delay", ValueKind::Duration, default Some("0s"), variable Some("STARTUP_DELAY"),
        "Time to wait before the database is first tried; it is tried again anyway until it answers.";
    GUACAMOLE_INTERVAL: "guacamole.outrigger.dev/interval", ValueKind::Duration, default Some("5m"), variable Some("POLL_INTERVAL"),
        "Time between full comparisons; changed files are noticed at once.";
    GUACAMOLE_BATCH_SIZE: "guacamole.outrigger.dev/batch-size", ValueKind::Integer(1, 100_000), default Some("5000"), variable Some("BATCH_SIZE"),
        "Most rows of one statement; all statements of a pass are one transaction.";
    GUACAMOLE_PRUNE: "guacamole.outrigger.dev/prune", ValueKind::Boolean, default Some("true"), variable Some("PRUNE"),
        "Whether connections that we made are removed when their file goes.";
    GUACAMOLE_PRUNE_DELAY: "guacamole.outrigger.dev/prune-delay", ValueKind::Duration, default Some("2m"), variable Some("PRUNE_DELAY"),
        "For how long no file must have wanted a connection until it goes; two nodes may mount a change a minute apart.";
    GUACAMOLE_PRUNE_LIMIT: "guacamole.outrigger.dev/prune-limit", ValueKind::Integer(0, 100), default Some("50"), variable Some("PRUNE_LIMIT"),
        "Most percent of our connections that go within an hour; if it were more, none goes, since Secrets may be missing.";
    GUACAMOLE_OWNER: "guacamole.outrigger.dev/owner", ValueKind::Name, default Some("default"), variable Some("OWNER"),
        "Name by which we know again what is ours; sidecars with different connections and one database need different ones.";
    GUACAMOLE_ADOPT: "guacamole.outrigger.dev/adopt", ValueKind::Boolean, default Some("false"), variable Some("ADOPT"),
        "Whether a connection that somebody else made becomes ours where a file wants one of its name.";
    GUACAMOLE_CREATE_USERS: "guacamole.outrigger.dev/create-users", ValueKind::Boolean, default Some("true"), variable Some("CREATE_USERS"),
        "Whether users and user groups are made that a file names and the database lacks.";
    GUACAMOLE_PASSWORDS_VOLUME: "guacamole.outrigger.dev/passwords-volume", ValueKind::Name, default None, variable None,
        "Volume of the pod where generated passwords are kept, a file for each user; it must outlive the pod. Needed by generatePassword.";
    GUACAMOLE_IMAGE: "guacamole.outrigger.dev/image", ValueKind::Image, default None, variable None,
        "Image of the sidecar; without it, the installation's.";
    GUACAMOLE_USER_ID: "guacamole.outrigger.dev/user-id", ValueKind::Integer(1, 2_147_483_647), default None, variable None,
        "User the sidecar runs as; without it, the pod's, else 1000.";
    GUACAMOLE_HEALTH_PORT: "guacamole.outrigger.dev/health-port", ValueKind::Integer(1024, 65535), default Some("15802"), variable Some("HEALTH_PORT"),
        "Port on which the kubelet probes the sidecar.";
    GUACAMOLE_LOG_LEVEL: "guacamole.outrigger.dev/log-level", ValueKind::Word(&["error", "warn", "info", "debug"]), default Some("info"), variable Some("LOG_LEVEL"),
        "How much the sidecar logs.";
    GUACAMOLE_CPU_REQUEST: "guacamole.outrigger.dev/cpu-request", ValueKind::Quantity, default None, variable None,
        "CPU reserved for the sidecar; without it, the installation's.";
    GUACAMOLE_CPU_LIMIT: "guacamole.outrigger.dev/cpu-limit", ValueKind::Quantity, default None, variable None,
        "CPU the sidecar may use; without it, the installation's.";
    GUACAMOLE_MEMORY_REQUEST: "guacamole.outrigger.dev/memory-request", ValueKind::Quantity, default None, variable None,
        "Memory reserved for the sidecar; without it, the installation's.";
    GUACAMOLE_MEMORY_LIMIT: "guacamole.outrigger.dev/memory-limit", ValueKind::Quantity, default None, variable None,
        "Memory the sidecar may use; without it, the installation's.";
}
