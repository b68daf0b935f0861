#!/bin/sh
# The first and only program of a guest: mounts what a node has mounted, runs the tests, switches the machine off.
export PATH=/usr/bin HOME=/ RUST_BACKTRACE=0
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# The kernel asks for a module when somebody uses what is in it.
echo /usr/bin/modprobe > /proc/sys/kernel/modprobe
ip link set lo up

# try NUMBER PROGRAM TEST...: a name that no test has would otherwise go unnoticed.
try() {
    number=$1 program=$2
    shift 2
    /tests/$program --list --exact "$@" > /tmp/listed
    if [ "$(grep -c ': test$' /tmp/listed)" != "$number" ]; then
        echo "guest: $program does not have all of its $number tests; it has:"
        cat /tmp/listed
        return
    fi
    /tests/$program --test-threads 1 --exact "$@" < /dev/null 2>&1
    echo "guest: $program ended with $?"
}

echo "guest: booted $(cat /proc/sys/kernel/osrelease) in $(cat /proc/uptime) s"
cd /tmp
. /commands
echo "guest: end"
echo o > /proc/sysrq-trigger
sleep 60
