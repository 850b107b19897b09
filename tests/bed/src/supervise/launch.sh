# Records its own process id and start time, then becomes the program: nothing unrecorded ever runs.
# usage: sh -c "$(cat launch.sh)" launch RUN_DIRECTORY NAME PROGRAM [ARGUMENT...]
start_time() { shift 19; echo "$1"; }
run=$1
name=$2
shift 2
read -r stat < /proc/$$/stat
echo "$$ $(start_time ${stat##*) })" > "$run/processes/$name" || exit 1
# The guardian marks the end, then reads the records; we record, then look for the mark: one of us sees the other.
[ ! -e "$run/ending" ] && exec "$@"
