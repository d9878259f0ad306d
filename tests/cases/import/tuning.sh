#!/bin/bash
set -e
CG=/sys/fs/cgroup
G4=$((4*1024*1024*1024))
mkdir -p $CG/{cpu,memory}/offline
echo 2 > $CG/cpu/offline/cpu.shares
echo -1 > "${CG}/cpu/offline/cpu.bvt_warp_ns"   # comment
echo 200000 > $CG/cpu/offline/cpu.cfs_quota_us
echo $G4 > $CG/memory/offline/memory.limit_in_bytes
printf '%s\n' 50 | sudo tee $CG/memory/offline/memory.wmark_min_adj >/dev/null
echo $$ > $CG/cpu/offline/cgroup.procs
echo 1234 > $CG/cpu/offline/tasks
sysctl -w vm.swappiness=10 vm.min_free_kbytes=4194304
sysctl -p
sudo sh -c 'echo 5 > /proc/sys/vm/dirty_background_ratio; echo 10 > /proc/sys/vm/dirty_ratio'
echo 268435456 > /proc/sys/vm/dirty_bytes
for g in online batch; do
  [ -d $CG/cpu/$g ] || mkdir $CG/cpu/$g
  echo 2 > $CG/cpu/$g/cpu.shares
done
for d in /sys/block/sd*; do
  echo mq-deadline > $d/queue/scheduler
  echo 64 > $d/queue/nr_requests
done
if [ -e $CG/cpu/online/cpu.bvt_warp_ns ]; then echo 2 > $CG/cpu/online/cpu.bvt_warp_ns; else echo 1 > $CG/cpu/online/cpu.idle; fi
mount -o remount,commit=30,nobarrier,noatime /data
cgcreate -g cpu,memory:cgb
cgset -r cpu.shares=256 cgb
systemctl set-property --runtime nginx CPUWeight=200 MemoryMax=4G CPUQuota=150%
echo "8:0 1048576" > $CG/blkio/offline/blkio.throttle.write_bps_device
echo "max 100000" > /sys/fs/cgroup/v2grp/cpu.max
echo 2G > /sys/fs/cgroup/v2grp/memory.max
N=$(nproc)
echo $N > $CG/cpu/offline/cpu.shares
while read x; do echo 1 > /proc/sys/vm/swappiness; done
tune2fs -o journal_data /dev/sda1
cat <<X > /proc/sys/vm/dirty_expire_centisecs
$((30*100))
X
log() { echo "$@"; }
log hello
setit() { echo $2 > $1; }
setit a b
[ $(id -u) -eq 0 ] || exit 1
grep -q x /proc/y && echo 3 > /proc/sys/vm/swappiness
cd /sys/fs/cgroup/memory/offline && echo 0 > memory.priority
echo 99999 > memory.priority
