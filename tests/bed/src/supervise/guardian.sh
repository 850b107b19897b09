# Ends everything that a run started once its owner is gone, however it went: returned, panicked, interrupted or killed.
# usage: sh guardian.sh RUN_DIRECTORY LOG_DIRECTORY; the owner holds the other end of standard input open for as long as it lives.
# Standard output is the run's directory, locked: while we live, nobody takes the run for a leftover.
run=$1
logs=$2
name=${run##*/} # also the name of a node's network namespace, of its link and of its control group

# Ctrl-C and the end of a terminal are the owner's affair: we act when it is gone.
trap '' HUP INT TERM
cd /

# Whether the process with this id still runs and is the one that was started then: ids are used again.
runs_since() { # ID START
    { read -r stat < "/proc/$1/stat"; } 2>/dev/null || return 1
    set -- "$2" ${stat##*) }
    [ "$2" != Z ] && [ "${21}" = "$1" ]
}

those_that_run() { # ID START ...
    while [ $# -ge 2 ]; do
        ! runs_since "$1" "$2" || echo "$1 $2"
        shift 2
    done
}

# The processes in the groups that these lead: a browser has children, which write on for a moment without it.
# A leader's id is not used again while its group has a process, but another may have it once all are gone; so groups are left alone
# whose leader had ended before.
members() { # ID START ...
    cat /proc/[0-9]*/stat 2>/dev/null | LC_ALL=C awk -v leaders="$*" '
        BEGIN {
            words = split(leaders, word, " ")
            for (i = 1; i < words; i += 2) start_of_leader[word[i]] = word[i + 1]
        }
        {
            id = $1
            sub(/.*\) /, "")
            start[id] = $20
            if ($1 != "Z") group[id] = $3
        }
        END {
            for (id in group) {
                leader = group[id]
                if (leader in start_of_leader && (!(leader in start) || start[leader] == start_of_leader[leader])) print id
            }
        }'
}

wait_until_none() { # TENTHS OF A SECOND, COMMAND THAT LISTS IDS
    remaining=$1
    shift
    while [ -n "$("$@")" ]; do
        [ "$remaining" -gt 0 ] || return 1
        remaining=$((remaining - 1))
        sleep 0.1
    done
}

kill_until_none() { # COMMAND THAT LISTS IDS
    remaining=50
    ids=$("$@")
    while [ -n "$ids" ] && [ "$remaining" -gt 0 ]; do
        kill -s KILL $ids
        remaining=$((remaining - 1))
        sleep 0.1
        ids=$("$@")
    done
}

end_processes() { # ID START ...
    leaders=$(those_that_run "$@")
    for id in $(echo "$leaders" | cut -d ' ' -f 1); do kill -s TERM "$id"; done
    wait_until_none 10 members $leaders || kill_until_none members $leaders
}

# What a node leaves: containers in its control groups, and their shims in its network namespace.
containers() { find /sys/fs/cgroup -path "*/$name/*" -name cgroup.procs -exec cat {} +; }

shims() { ip netns pids "$name"; }

end_node() {
    # First the containers: their shims still live to see them end.
    kill_until_none containers
    kill_until_none shims
    grep -F " $run/" /proc/mounts | cut -d ' ' -f 2 | sort -r | while read -r mount; do umount -l "$mount"; done
    find /sys/fs/cgroup -depth -type d -path "*/$name*" -exec rmdir {} +
    # containerd, CNI and the kubelet each keep something in one folder for the whole machine: sockets, results, links to logs.
    grep -rhoE '/run/containerd/s/[0-9a-f]+' "$run/containerd/state" | sort -u | xargs -r rm -f
    grep -lF "$run/" /var/lib/cni/results/* | xargs -r rm -f
    find /var/log/containers -lname "$run/*" -delete
    ip netns delete "$name"
    ip link delete "$name"
}

# What made a session of its own, as a browser's handler of crashes does, may still write a file, hold a mount, or make a directory again.
remove() { # DIRECTORY
    remaining=50
    until rm -rf "$1" && sleep 0.1 && [ ! -e "$1" ]; do
        [ "$remaining" -gt 0 ] || return 1
        remaining=$((remaining - 1))
        sleep 0.1
    done
}

while read -r _; do :; done

touch "$run/ending"
# Names are numbered in the order of starting: the last started ends first. Read once: the directory may be removed under our feet.
end_processes $(ls -r -d "$run"/processes/* | xargs -r cat)
[ ! -e "$run/node" ] || end_node
if [ -e "$run/keep-logs" ]; then remove "$run"; else remove "$run" && rm -rf "$logs"; fi
