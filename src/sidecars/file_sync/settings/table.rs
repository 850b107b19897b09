//! Every setting there is. Add a row here, and the command line, the environment and the reference know it.

use crate::sidecars::setting::{Row, table};

/// Variables of the two predecessors that change nothing here, and why: so that nobody waits for their effect.
pub const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("REQ_RETRY_CONNECT", "REQ_RETRY_TOTAL counts all failures"),
    ("REQ_RETRY_READ", "REQ_RETRY_TOTAL counts all failures"),
    ("DISABLE_X509_STRICT_VERIFICATION", "certificates are verified by rustls, which has no such switch"),
    ("LOG_TZ", "log lines are in UTC"),
    ("LOG_CONFIG", "use LOG_LEVEL and LOG_FORMAT"),
];

/// Where the defaults of kiwigrid/k8s-sidecar differ, which hold under `COMPAT=kiwigrid`.
const KIWIGRID_DEFAULTS: [(&Row, &str); 4] =
    [(&NAMESPACE, "OWN"), (&REQ_BASIC_AUTH_ENCODING, "latin1"), (&HEALTH_PORT, "8080"), (&LOG_FORMAT, "json")];

/// The default of a row under `COMPAT=kiwigrid`, where that differs.
pub(super) fn kiwigrid_default(row: &Row) -> Option<&'static str> {
    KIWIGRID_DEFAULTS.iter().find(|(differing, _)| *differing == row).map(|(_, default)| *default)
}

table! {
    COMPAT: "gsidecar, kiwigrid" = "gsidecar",
        "Whose meaning the words have that k8s-gsidecar and kiwigrid/k8s-sidecar both know: the first's or the second's.";
    METHOD: "watch, poll, once; list, sleep" = "watch",
        "Follow changes, look again at intervals, or mirror once and end. In k8s-gsidecar, list is poll and sleep is once; in kiwigrid/k8s-sidecar, it is the other way round.";

    FOLDER: "a path",
        "Where the files are written; required.";
    ALLOWED_FOLDERS: "paths, comma-separated",
        "Further folders that files may be written to, below which an absolute folder annotation may point. Nothing is ever written elsewhere.";
    FOLDER_ANNOTATION: "an annotation" = "k8s-sidecar-target-directory",
        "Annotation by which an object names a folder of its own. It is below FOLDER, whether it begins with a slash or not; under COMPAT=kiwigrid an absolute one is the folder itself, if it is an allowed one.";
    LABEL: "a label key",
        "Label that objects must have; required, unless RESOURCE_NAME names them.";
    LABEL_VALUE: "a label value",
        "Value the label must have; without it, any.";
    RESOURCE: "configmap, secret, both" = "configmap",
        "What is mirrored.";
    RESOURCE_NAME: "name, kind/name or namespace/kind/name, comma-separated",
        "Mirror only the objects of these names. LABEL must match too where it is given; under COMPAT=kiwigrid it then counts for nothing.";
    NAMESPACE: "names, comma-separated; ALL; OWN" = "ALL",
        "Where to look: in these namespaces, in all, or in the pod's own.";
    FILE_SUFFIXES: "suffixes, comma-separated",
        "Mirror only keys that end so, such as .json,.yaml; without it, all.";
    UNIQUE_FILENAMES: "true, false" = "false",
        "Whether file names carry namespace, kind and name of their object, so that equal keys don't meet.";
    DEFAULT_FILE_MODE: "an octal mode",
        "Mode of the files; without it, 0644 for ConfigMaps and 0440 for Secrets.";
    APP_USERS: "user:group pairs, comma-separated",
        "Whom the app runs as, so that files it can't read are warned about.";
    EXISTING_FILES: "keep, adopt" = "keep",
        "What becomes of a file that stands where one of ours belongs, and is not ours: it is left alone, or taken over.";
    PUBLISH: "each, together" = "each",
        "Whether each file changes by itself, or all of a batch at once, as in the kubelet's volumes: a reader who follows ..data sees all files of one batch.";
    FSYNC: "true, false" = "false",
        "Whether a file is on the disk before it appears. It costs milliseconds for each. The list of our files always is soon: one that is lost with the power is written again at the next start.";
    URL_KEYS: "fetch, ignore" = "fetch",
        "Whether the value of a key x.url is an address whose contents become the file x, or mirrored like any other.";
    URL_REFRESH: "seconds or a duration" = "0",
        "How often the address of a .url key is asked whether its contents have changed; with 0, only when the key changes and at the start.";

    POLL_INTERVAL also "SLEEP_TIME": "seconds or a duration" = "60",
        "Time between looks of METHOD=poll; otherwise between looks at the files, which are repaired if somebody changed them.";
    IGNORE_ALREADY_PROCESSED: "true, false" = "false",
        "Whether an object whose version was handled before is passed over, even if its files were changed by somebody since.";
    LIST_PAGE_SIZE: "a number" = "10",
        "Objects asked for at once where the API server doesn't stream lists; more is faster and takes more memory.";
    WATCH_SERVER_TIMEOUT: "seconds or a duration" = "200",
        "Time after which the API server ends a watch, which is then resumed.";
    WATCH_CLIENT_TIMEOUT: "seconds or a duration" = "90",
        "Silence after which a watch counts as dead and is resumed on another connection. API servers speak about once a minute.";
    ERROR_THROTTLE_SLEEP: "seconds or a duration" = "5",
        "Longest pause after a failed request to the API server.";
    FORBIDDEN_GRACE: "seconds or a duration" = "60",
        "How long a namespace must be forbidden before its files are removed, if another can be read: API servers refuse for a moment when they start. While nothing at all may be read, all files stay.";
    SKIP_TLS_VERIFY: "true, false" = "false",
        "Whether the API server's certificate is taken unseen.";

    REQ_URL: "an address",
        "Address that is called after files changed, once for each batch of changes.";
    REQ_METHOD: "GET, POST" = "GET",
        "How it is called.";
    REQ_PAYLOAD: "a text",
        "Body of a POST, in which ${files}, ${count} and ${folder} stand for what changed. JSON is sent as JSON; other text as it is, or as a JSON string under COMPAT=kiwigrid.";
    REQ_PRESET: "none, slack" = "none",
        "A ready-made payload: slack posts one line of text to an incoming webhook.";
    REQ_USERNAME: "a text",
        "User for basic authentication at REQ_URL, and nowhere else.";
    REQ_PASSWORD: "a text",
        "Its password. A variable only: arguments can be seen by others.";
    REQ_USERNAME_FILE: "a path",
        "File with the user; it is read again for each call, and wins.";
    REQ_PASSWORD_FILE: "a path",
        "File with the password; it is read again for each call, and wins.";
    REQ_BASIC_AUTH_ENCODING: "utf-8, latin1" = "utf-8",
        "How user and password become bytes.";
    REQ_TIMEOUT: "seconds or a duration" = "10",
        "How long one call, one mail and one RELOAD may take, and one download of a .url key.";
    REQ_RETRY_TOTAL: "a number",
        "How often a failed call is tried again; without it, until it is delivered, in METHOD=once not at all: the app may be waiting for the end of that.";
    REQ_RETRY_BACKOFF_FACTOR: "seconds or a duration" = "1.1",
        "First pause after a failed call; each further one is twice as long, up to five minutes.";
    ENABLE_5XX: "true, false" = "true",
        "Whether a call is tried again that was answered with 500 or above.";
    REQ_SKIP_INIT: "true, false" = "false",
        "Whether the first sync into an empty folder is not notified. Changes since an earlier run always are.";
    REQ_SKIP_TLS_VERIFY: "true, false" = "false",
        "Whether certificates of REQ_URL and .url keys are taken unseen.";
    REQ_CA_FILE: "a path",
        "File with further certificate authorities to trust at REQ_URL and .url keys, in PEM.";
    NOTIFY_QUIET: "seconds or a duration" = "200ms",
        "How long nothing must change before a batch of changes is notified; with PUBLISH=together, before it is published, too.";
    NOTIFY_LATEST: "seconds or a duration" = "2",
        "How long a batch waits at most while changes go on.";
    SCRIPT: "a path",
        "Program that is run after files changed, before REQ_URL is called. The image has no shell: it must be executable by itself.";
    SCRIPT_TIMEOUT: "seconds or a duration" = "30",
        "How long it may run before it is killed and counts as failed.";

    SMTP_URL: "smtps://host, or smtp://host?tls=required",
        "Mail server by which people are told after files changed, with :port where it is not the usual one. smtp://host alone has no TLS, and takes no user.";
    SMTP_FROM: "an address",
        "Sender of the mail; required with SMTP_URL.";
    SMTP_TO: "addresses, comma-separated",
        "Who gets it; required with SMTP_URL.";
    SMTP_USERNAME: "a text",
        "User at the mail server.";
    SMTP_PASSWORD: "a text",
        "Its password. A variable only: arguments can be seen by others.";
    SMTP_PASSWORD_FILE: "a path",
        "File with the password; it is read again for each mail, and wins.";

    PGBOUNCER_HOST: "a name, an address or a folder",
        "PgBouncer that is told to RELOAD after files changed, such as its auth_file: its address, or the folder of its Unix socket.";
    PGBOUNCER_PORT: "a port" = "6432",
        "Port of its admin console.";
    PGBOUNCER_USERNAME: "a text" = "pgbouncer",
        "User of its admin console, one of PgBouncer's admin_users.";
    PGBOUNCER_PASSWORD: "a text",
        "Its password. A variable only: arguments can be seen by others.";
    PGBOUNCER_PASSWORD_FILE: "a path",
        "File with the password; it is read again for each RELOAD, and wins.";
    PGBOUNCER_TLS_MODE: "disable, prefer, require, verify-ca, verify-full" = "prefer",
        "How the connection is secured, in the words of libpq's sslmode.";
    PGBOUNCER_CA_FILE: "a path",
        "File with the authorities that may have signed PgBouncer's certificate, in PEM; required by verify-ca and verify-full.";

    PGBOUNCER_AUTH_FILE: "a path",
        "Mirrored file, below FOLDER, that is PgBouncer's auth_file. The app waits until it is there. Contents that PgBouncer can't read as a whole, or that name nobody, are not written, and what was there stays; it stays when its object goes, too.";
    APPLIED_ANNOTATION: "an annotation",
        "Annotation of the first object of RESOURCE_NAME whose value /applied answers, once those who are to be told were told of that object's files. If it is a Secret whose key outrigger.removed-users names users, one on each line, their sessions at PgBouncer are ended after each RELOAD.";

    HEALTH_HOST: "an IP address" = "::",
        "Address of the health port.";
    HEALTH_PORT: "a port" = "15801",
        "Port of /startupz, /livez, /readyz, /healthz and /metrics.";
    LOG_LEVEL: "error, warn, info, debug" = "info",
        "How much is logged.";
    LOG_FORMAT: "text, json; LOGFMT" = "text",
        "How log lines are written.";
}
