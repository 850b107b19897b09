#!/bin/sh
# Makes a CA and a certificate for local work: ca.crt, tls.crt and tls.key in a folder. The CA's key is thrown away.
# usage: certs/make.sh FOLDER NAME...   where a name is a DNS name or an address, such as localhost or 127.0.0.1
set -eu

[ $# -ge 2 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
command -v openssl > /dev/null || { echo "openssl is missing: install it, or let outrigger serve make its own certificate" >&2; exit 1; }

folder=$1
shift
names=
for name; do
    case $name in
        *:* | *[0-9].*[0-9]*.[0-9]*.[0-9]*) kind=IP ;;
        *) kind=DNS ;;
    esac
    names=${names:+$names,}$kind:$name
done

mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 077

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj "/CN=Outrigger local CA" \
    -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout "$work/ca.key" -out "$folder/ca.crt" 2> "$work/log" || { cat "$work/log" >&2; exit 1; }
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=outrigger" \
    -keyout "$folder/tls.key" -out "$work/request" 2> "$work/log" || { cat "$work/log" >&2; exit 1; }
printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\n' "$names" > "$work/extensions"
openssl x509 -req -in "$work/request" -CA "$folder/ca.crt" -CAkey "$work/ca.key" -CAcreateserial -CAserial "$work/serial" -days 90 \
    -extfile "$work/extensions" -out "$folder/tls.crt" 2> "$work/log" || { cat "$work/log" >&2; exit 1; }
echo "made $folder/ca.crt, $folder/tls.crt and $folder/tls.key for $names"
