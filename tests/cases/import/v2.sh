# cgroup v2
BASE=/sys/fs/cgroup
groups=(batch web/front)
echo "+cpu +memory +io" > $BASE/cgroup.subtree_control
for g in "${groups[@]}"; do
  mkdir -p "$BASE/$g"
  { echo 'max 50000' | tee "$BASE/$g/cpu.max"; } > /dev/null
done
echo "200000 100000" > $BASE/batch/cpu.max
echo 25000 > $BASE/web/front/cpu.max
echo 10 > $BASE/batch/cpu.weight
echo 6442450944 > $BASE/batch/memory.max
echo max > $BASE/batch/pids.max
cat > $BASE/batch/cpuset.cpus << 'EOT'
4-7
EOT
mount -t cgroup -o cpu none /mnt/cpu
echo 512 > /mnt/cpu/old/cpu.shares
cd $BASE/unified/late
echo 99 > pids.max
case $1 in
  start) echo 1 > /proc/sys/vm/swappiness ;;
  *) echo usage ;;
esac
