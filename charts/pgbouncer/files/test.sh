#!/bin/sh
# What `helm test` does at one instance: `test.sh logins`, then `test.sh rotation`. It needs psql and awk. No password is printed or given as an
# argument.
set -eu

separator=$(printf '\001')

say() { printf '%s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

# Signs in to a database as a user with a password, and does what its input says.
client() { PGDATABASE=$1 PGUSER=$2 PGPASSWORD=$3 PGCONNECT_TIMEOUT=10 psql --no-psqlrc --no-password --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1; }
query() { say "$4" | client "$1" "$2" "$3"; }

# Signs in to PgBouncer's console as the test's own user.
probe() { query pgbouncer "$PROBE" "$1" 'SHOW VERSION;'; }

# Tries until it succeeds, with a deadline; what it is comes first.
until_done() {
  what=$1 end=$(($(date +%s) + TIMEOUT))
  shift
  until "$@" > /tmp/attempt 2>&1; do
    [ "$(date +%s)" -lt "$end" ] || fail "waited $TIMEOUT s until $what: $(tail -n 1 /tmp/attempt)"
    sleep 0.5
  done
}

# The names and passwords of a list of users, one pair a line.
users() {
  awk '
    function text(    found, byte) {
      while (at <= length($0)) {
        byte = substr($0, at++, 1)
        if (byte == "\"" && substr($0, at, 1) != "\"") return found
        if (byte == "\"") at++
        found = found byte
      }
      return found
    }
    /^[ \t\r]*"/ {
      at = index($0, "\"") + 1
      name = text()
      at += index(substr($0, at), "\"")
      printf "%s\001%s\n", name, text()
    }
  ' "$1"
}

# The database that a user signs in to; nothing if none is meant.
database_of() {
  while IFS= read -r line; do
    if [ "${line%=*}" = "$1" ]; then say "${line##*=}"; return; fi
  done < /test/databases
  say "$1"
}

# Every user of the list whose password can be known signs in.
sign_in() {
  users "/userlist/$USERLIST_KEY" > /tmp/users
  signed_in=0 unknown=0
  while IFS=$separator read -r user password; do
    # Whose password nobody knows.
    if grep -qxF -e "$user" /userlist/outrigger.removed-users 2> /tmp/attempt; then continue; fi
    case $password in
      SCRAM-SHA-256\$* | md5????????????????????????????????) unknown=$((unknown + 1)); continue ;;
    esac
    case $user in
      # Its own user, and those of other instances with the same labels.
      "$PROBES"-*) continue ;;
      "$ADMIN") database=pgbouncer command='SHOW VERSION;' admin_password=$password ;;
      *) database=$(database_of "$user") command='SELECT current_user;' ;;
    esac
    [ -n "$database" ] || { say "skipped: $user, for whom tests.databases names no database"; continue; }
    answer=$(query "$database" "$user" "$password" "$command" 2>&1) || fail "$user can't sign in to $database: $answer"
    signed_in=$((signed_in + 1))
    [ "$database" = pgbouncer ] || { measured_database=$database measured_user=$user measured_password=$password; }
  done < /tmp/users
  say "signed in: $signed_in users; $unknown more have a verifier, whose password nobody can know"
  [ "$signed_in" -gt 0 ] || [ "$unknown" -gt 0 ] || fail "nobody in the list could be tried"
}

# The latency of queries of one session, at the server if somebody could sign in there.
measure() {
  [ -n "${measured_user:-}" ] || { say 'skipped: latency, since nobody signed in to the server'; return; }
  {
    say '\timing on'
    for tens in 1 2 3 4 5 6 7 8 9 10; do for ones in 1 2 3 4 5 6 7 8 9 10; do say 'SELECT 1;'; done; done
  } | client "$measured_database" "$measured_user" "$measured_password" | awk '/^Time:/ { print $2 }' | sort -n > /tmp/times
  [ "$(wc -l < /tmp/times)" -eq 100 ] || fail "100 queries took $(wc -l < /tmp/times) times"
  half=$(sed -n 50p /tmp/times) most=$(sed -n 95p /tmp/times)
  say "latency: half of 100 queries below $half ms, 95 below $most ms"
  awk -v most="$most" -v limit="$LATENCY" 'BEGIN { exit limit > 0 && most > limit }' || fail "95 of 100 queries were to be below $LATENCY ms"
}

# Opens so many sessions at the console at once, which stay until `leave`, and waits until each was served or refused.
crowd() {
  number=0
  rm -f /tmp/done /tmp/client.*
  trap 'touch /tmp/done' EXIT
  while [ "$number" -lt "$1" ]; do
    number=$((number + 1))
    { say 'SHOW VERSION;'; until [ -e /tmp/done ]; do sleep 0.5; done; } | client pgbouncer "$2" "$3" > "/tmp/client.$number" 2>&1 &
  done
  until_done "$1 clients were answered" all_answered "$1"
}
leave() { touch /tmp/done; wait; }

# Sessions at the console until PgBouncer has as many clients as it may: they count, and are never refused for that, and need no server. Then
# whoever else comes is refused.
fill() {
  [ "$MOST_CLIENTS" -gt 0 ] || { say 'skipped: max_client_conn, since tests.mostClients is 0'; return; }
  [ -n "${admin_password:-}" ] && [ -n "${measured_user:-}" ] || { say "skipped: max_client_conn, for which $ADMIN and another user must sign in"; return; }
  limit=$(query pgbouncer "$ADMIN" "$admin_password" 'SHOW CONFIG;' | awk -F '|' '$1 == "max_client_conn" { print $2 }')
  all=$((limit * PODS))
  [ "$all" -le "$MOST_CLIENTS" ] || { say "skipped: max_client_conn, since $all clients are more than tests.mostClients"; return; }
  crowd "$all" "$ADMIN" "$admin_password"
  until_done 'max_client_conn refuses a client' is_full
  leave
  say "filled: beside $all clients another was refused"
  until_done 'there is room again' query "$measured_database" "$measured_user" "$measured_password" 'SELECT 1;'
}
is_full() {
  refusal=$(query "$measured_database" "$measured_user" "$measured_password" 'SELECT 1;' 2>&1) && { say 'it was served'; return 1; }
  case $refusal in *max_client_conn*) ;; *) say "$refusal"; return 1 ;; esac
}

# One client more than all pods let that user be: at least one must be refused, and the others served.
saturate() {
  [ "$LIMITED" = true ] || { say 'skipped: the limit of clients, which this PgBouncer has for all users together alone'; return; }
  most=$((CLIENTS * PODS + 1))
  crowd "$most" "$PROBE" "$1"
  leave
  refused=$(cat /tmp/client.* | grep -c max_user_client_connections || true)
  served=$(cat /tmp/client.* | grep -c '^PgBouncer ' || true)
  say "saturated: of $most clients at once $served were served and $refused refused"
  [ "$refused" -gt 0 ] && [ "$served" -gt 0 ] && [ $((refused + served)) -eq "$most" ] || fail "$(sort -u /tmp/client.*)"
  until_done 'there is room again' probe "$1"
}
all_answered() { answered=0; for file in /tmp/client.*; do [ ! -s "$file" ] || answered=$((answered + 1)); done; [ "$answered" -eq "$1" ]; }

# How many connections to the server there are, and that no database has more than it may.
count() {
  PGDATABASE=pgbouncer PGUSER=$PROBE PGPASSWORD=$1 psql --no-psqlrc --no-password --quiet --no-align --pset=footer=off --command='SHOW DATABASES' > /tmp/databases
  awk -F '|' '
    NR == 1 { for (column = 1; column <= NF; column++) at[$column] = column; next }
    $at["name"] != "pgbouncer" {
      most = $at["max_connections"]
      printf "server connections: %s has %s%s\n", $at["name"], $at["current_connections"], (most > 0 ? " of at most " most : "")
      if (most > 0 && $at["current_connections"] + 0 > most + 0) exit 1
    }
  ' /tmp/databases || fail 'a database has more connections to the server than it may'
}

case $1 in
  logins)
    sign_in
    measure
    fill
    if [ -e /before/password ]; then
      password=$(cat /before/password)
      until_done "the list has $PROBE" probe "$password"
      count "$password"
      saturate "$password"
    else
      say "skipped: what needs $PROBE, whom the operator adds to lists that it writes"
    fi
    ;;
  rotation)
    before=$(cat /before/password) after=$(cat /after/password) start=$(date +%s) agreed=0
    # Each pod learns of it by itself, and any of them may answer.
    while [ "$agreed" -lt $((5 * PODS)) ]; do
      until_done 'the new password signs in' probe "$after"
      if refusal=$(probe "$before" 2>&1); then
        agreed=0
        [ "$(date +%s)" -lt $((start + TIMEOUT)) ] || fail "after $TIMEOUT s the old password signs in, too"
      else
        case $refusal in
          *'authentication failed'*)
            [ "$agreed" -gt 0 ] || turn=$(date +%s)
            agreed=$((agreed + 1))
            ;;
          *) fail "$refusal" ;;
        esac
      fi
    done
    say "rotated: after $((turn - start)) s the new password signs in and the old one does not"
    ;;
esac
