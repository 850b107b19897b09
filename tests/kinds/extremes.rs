//! Objects at the edge of what the schemas allow: very large ones, and ones with awkward values.

use serde_json::{Map, Value, json};

use crate::cases::{database, server, session, template, user_list};

/// The largest objects that the schemas allow, as far as rules look at them.
pub(crate) fn largest() -> Vec<Value> {
    let name = |index: usize| format!("{:é<26}{index:03}", "n");
    let named = |count: usize| (0..count).map(|index| json!({ "name": name(index) })).collect::<Vec<_>>();
    let extensions = (0..64).map(|index| json!({ "name": format!("e{index}"), "schema": name(63 - index) })).collect::<Vec<_>>();
    let parameters = (0..64).map(|index| (format!("{:a<63}.{:b<60}{index:03}", "", ""), json!("1"))).collect::<Map<_, _>>();
    let roles = (0..64).map(|index| json!({ "role": name(index), "privileges": ["Connect", "Create", "Temporary"] })).collect::<Vec<_>>();
    let amounts = (0..7).map(|index| (format!("example.com/{:r<50}{index}", ""), json!("0.1234567890123456789Ei"))).collect::<Map<_, _>>();
    let resources = json!({ "requests": amounts, "limits": amounts });
    let shares = (0..32).map(|index| json!({ "user": format!("{:u<250}{index:03}", "") })).collect::<Vec<_>>();
    let env = (0..64).map(|index| json!({ "name": format!("{:E<125}{index:03}", ""), "value": "v".repeat(4096) })).collect::<Vec<_>>();
    let blocks = (0..32).map(|_| "ffff:ffff:ffff:ffff:ffff:ffff:ffff:0/128").collect::<Vec<_>>();
    let destinations = (0..32).map(|_| json!({ "cidr": blocks[0], "except": blocks })).collect::<Vec<_>>();
    let labels = (0..31).map(|index| (format!("{:d<250}/{:l<60}{index:03}", "", ""), json!("v".repeat(63)))).collect::<Map<_, _>>();
    vec![
        database(json!({ "schemas": named(64), "extensions": extensions, "parameters": parameters, "privileges": roles })),
        session(
            json!({ "resources": resources, "sharing": shares, "env": env, "idleTimeout": "1h1h1h1h1h1h1h1h1h1h", "maxLifetime": "87600h" }),
        ),
        template(json!({
            "app": { "resources": resources, "env": env }, "podMetadata": { "labels": labels },
            "network": { "egress": "Listed", "allow": destinations }, "overrides": ["Resources"], "maxResources": amounts,
        })),
        user_list(json!({ "selector": { "matchLabels": labels }, "poolers": vec![json!({ "selector": { "matchLabels": labels } }); 16] })),
    ]
}

/// Objects with one awkward value each, for which only agreement is asked: what one reader of a number, a duration or an address
/// takes and another doesn't is found here.
#[allow(clippy::too_many_lines, reason = "it is a table")]
pub(crate) fn awkward() -> Vec<Value> {
    let durations = [
        "",
        "0",
        "0s",
        "1h",
        "1.5h",
        ".5h",
        "5.h",
        "1h30m",
        "1m1h",
        "1H",
        "1 h",
        "1s ",
        " 1s",
        "+1s",
        "-1s",
        "1e3s",
        "1µs",
        "1ms",
        "1us",
        "1ns",
        "h",
        ".s",
        "1.2.3s",
        "87600h",
        "87600h1s",
        "99999999999999999h",
        "0.0001s",
        "0.0000000000001s",
        "00001s",
        "١s",
        "1s\n",
        "1h1",
    ];
    let quantities = [
        "",
        "1",
        "+1",
        "-1",
        "-0",
        "1k",
        "1K",
        "1ki",
        "1Ki",
        "1e3",
        "1E3",
        "1e+3",
        "1e-3",
        "1e",
        "1E",
        "1.5Gi",
        ".5",
        "5.",
        "1..",
        ".",
        "0x10",
        "1_000",
        "1 Gi",
        " 1",
        "Gi",
        "1m",
        "1n",
        "1u",
        "1mm",
        "9223372036854775807",
        "9223372036854775808",
        "12345678901234567890",
        "7Ei",
        "8Ei",
        "16Ei",
        "1e18",
        "1e19",
        "1e400",
        "1e-400",
        "Infinity",
        "NaN",
        "१",
        "0.0000000001",
        "1Mi\n",
        "0",
        "0m",
        "1Gi1",
        "+.5Mi",
        "0.5e1",
    ];
    let blocks = [
        "10.0.0.0/8",
        "10.0.0.1/8",
        "::/0",
        "fd00::/8",
        "1.2.3.4",
        "1.2.3.4/",
        "1.2.3.4/33",
        "1.2.3.4/08",
        "1.2.3.4/+8",
        "01.2.3.4/8",
        "::ffff:1.2.3.4/96",
        "fe80::1%eth0/64",
        "0.0.0.0/0",
        "a/8",
        "/8",
        "1.2.3/8",
        "fd00::/129",
        "1.2.3.4/8/8",
        "FD00::/8",
        "1.2.3.4 /8",
    ];
    let hosts = [
        "::1",
        "[::1]",
        "fe80::1%eth0",
        "1.2.3.4",
        "01.2.3.4",
        "a:b",
        "::ffff:1.2.3.4",
        "a_b",
        "a..b",
        "-a",
        "é",
        "a b",
        "db.",
        "1:2:3:4:5:6:7:8",
        "1:2:3:4:5:6:7:8:9",
        "db:5432",
        "::",
    ];
    let names =
        ["a\tb", "a\u{7f}", "a\u{85}b", "\u{202e}x", "a\"b", "a'b", " a", "a b", "😀", "pg_", "PG_x", "Public", "none ", "Postgres"];
    let moments = [
        "2030-01-31",
        "2030-01-31T12:00:00Z",
        "2030-01-31T12:00:00+02:00",
        "2030-01-31T12:00:00.123456789Z",
        "2030-01-31 12:00:00Z",
        "2030-01-31T12:00:00",
        "2030-02-30T12:00:00Z",
        "2030-01-31T24:00:00Z",
        "2030-01-31T12:00Z",
        "2030-01-31t12:00:00z",
        "2030-01-31T23:59:60Z",
        "2030-01-31T12:00:00[Europe/Berlin]",
        "20300131T120000Z",
        "2030-01-31T12:00:00+0200",
        "+002030-01-31T12:00:00Z",
        "2030-01-31T12:00:00+99:99",
    ];
    let parameters = ["a", "_", "a.b", "a.b.c", "1a", "a$1", "$a", "", ".", "a.", ".b", "é", "a-b", "A", "a\n"];
    let geometries = [
        "64x64",
        "63x64",
        "16384x16384",
        "16385x64",
        "1280X800",
        "1280×800",
        " 1280x800",
        "1280x800\n",
        "+64x64",
        "-64x64",
        "0064x064",
        "1x2x3",
        "x",
        "64x",
        "99999x64",
        "999999x64",
        "000000000000000064x64",
        "٦٤x٦٤",
        "",
    ];
    let variables = ["A", "_", "a1", "1a", "é", "A B", "A\n", "A=B", ""];
    let images = ["a", "a:1", "é", "a\tb", "a\n", "~!", "a\u{a0}b"];
    let paths = ["/", "/a b", "a", "/a:b", "/é", "/a\n", "/../a"];
    let icons = ["https://", "HTTPS://a", "http://a", ""];
    let label_values = ["", "a", "-a", "a-", "a.b_c-d", "é", "a\n", "a b"];
    let keys = ["a", ".", "..", "a/b", "é", "a\n", "A_b-c.d"];
    let encodings = ["UTF8", "latin-1", "é", "a b", "a\n", "_"];
    let locales = ["C", "de_DE.utf8@euro", "a b", "é", "a\n", "de-u-co=phonebk,x"];
    let servers = ["a", "a.b", "a..b", "-a", "a-", "a_b", "A", "é", "a\n", "1"];
    let of_durations = durations.map(|text| database(json!({ "drop": { "gracePeriod": text } })));
    let of_quantities = quantities.map(|text| template(json!({ "desktop": { "sharedMemory": text } })));
    let of_numbers = [json!(0), json!(-1), json!(i64::MAX), json!(1_i64 << 60), json!((1_i64 << 60) + 1), json!(1.5), json!(true)]
        .map(|it| template(json!({ "desktop": { "sharedMemory": it } })));
    let of_blocks = blocks.map(|text| template(json!({ "network": { "egress": "Listed", "allow": [{ "cidr": text }] } })));
    let of_hosts = hosts.map(|text| server(json!({ "host": text })));
    let of_names = names.iter().flat_map(|text| [database(json!({ "name": text })), database(json!({ "owner": { "name": text } }))]);
    let of_moments = moments.map(|text| session(json!({ "sharing": [{ "user": "bob", "expiresAt": text }] })));
    let of_parameters = parameters.map(|text| database(json!({ "parameters": { text: "1" } })));
    let of_geometries = geometries.map(|text| session(json!({ "geometry": text })));
    let of_variables = variables.map(|text| session(json!({ "env": [{ "name": text }] })));
    let of_images = images.map(|text| template(json!({ "app": { "image": text } })));
    let of_paths = paths.map(|text| template(json!({ "home": { "size": 1, "mountPath": text } })));
    let of_icons = icons.map(|text| template(json!({ "icon": text })));
    let of_label_values = label_values.map(|text| template(json!({ "podMetadata": { "labels": { "a": text } } })));
    let of_keys = keys.map(|text| user_list(json!({ "output": { "key": text } })));
    let of_encodings = encodings.map(|text| database(json!({ "creation": { "encoding": text } })));
    let of_locales = locales.map(|text| database(json!({ "creation": { "locale": text } })));
    let of_servers = servers.map(|text| database(json!({ "server": text })));
    of_names
        .chain(of_durations)
        .chain(of_quantities)
        .chain(of_numbers)
        .chain(of_blocks)
        .chain(of_hosts)
        .chain(of_moments)
        .chain(of_parameters)
        .chain(of_geometries)
        .chain(of_variables)
        .chain(of_images)
        .chain(of_paths)
        .chain(of_icons)
        .chain(of_label_values)
        .chain(of_keys)
        .chain(of_encodings)
        .chain(of_locales)
        .chain(of_servers)
        .collect()
}
