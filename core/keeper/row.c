/* row.c - a signal to all that a keeper keeps, in a row. */
#include "row.h"

#include "proc.h"

static void note(struct row *row, int pid, long rc) {
  row->sent += rc == 0;
  row->denied += rc == -EPERM;
  if (vector_grow(&row->had, ((size_t)row->count + 1) * sizeof(int)))
    ((int *)row->had.data)[row->count++] = pid;
}

static void send_one(int pid, void *data) {
  struct row *row = data;
  note(row, pid, SYS(__NR_kill, pid, row->signal));
}

bool row_send(struct row *row, int keeper) {
  row->sent = row->denied = row->count = 0;
  return proc_children(keeper, send_one, row);
}

static void send_below(int pid, void *data) {
  struct row *row = data;
  struct stat_of stat;
  int pidfd = (int)SYS(__NR_pidfd_open, pid, 0);
  if (pidfd < 0)
    return;
  if (proc_stat(pid, &stat) && stat.parent == row->parent)
    note(row, pid, SYS(__NR_pidfd_send_signal, pidfd, row->signal, NULL, 0));
  sys_close(pidfd);
}

void row_send_below(struct row *row) {
  for (int i = 0; i < row->count; i++) {
    row->parent = ((int *)row->had.data)[i];
    proc_children(row->parent, send_below, row);
  }
}

static void note_living(int pid, void *data) {
  bool *living = data;
  struct stat_of stat;
  *living = *living || (proc_stat(pid, &stat) && !stat.ended);
}

bool row_has_ended(int keeper) {
  bool living = false;
  return proc_children(keeper, note_living, &living) && !living;
}
