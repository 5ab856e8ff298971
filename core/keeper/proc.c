/* proc.c - what /proc tells of processes. */
#include "proc.h"

enum { PATH = 64, CHUNK = 4096 };

bool proc_forbids_children;

/* Writes "/proc/PID/…" with a thread's number in the middle if `thread` > 0. */
static void path_of(char path[PATH], int pid, int thread, const char *rest) {
  char *at = path;
  const int numbers[] = {pid, thread};
  const char *names[] = {"/proc/", "/task/"};
  for (int i = 0; i < 2 && numbers[i] > 0; i++) {
    char digits[12];
    int n = 0;
    for (const char *c = names[i]; *c != '\0'; c++)
      *at++ = *c;
    for (int left = numbers[i]; left > 0; left /= 10)
      digits[n++] = (char)('0' + left % 10);
    while (n > 0)
      *at++ = digits[--n];
  }
  while ((*at++ = *rest++) != '\0')
    ;
}

/* Returns the number at *at, and moves *at behind it. */
static uint64_t number_at(const char **at) {
  uint64_t n = 0;
  while (**at == ' ')
    ++*at;
  while (**at >= '0' && **at <= '9')
    n = n * 10 + (uint64_t)(*(*at)++ - '0');
  return n;
}

/* Moves *at behind so many fields, each with a blank before it. */
static void skip(const char **at, int fields) {
  for (; fields > 0; fields--) {
    *at += **at == ' ';
    while (**at != ' ' && **at != '\0')
      ++*at;
  }
}

/* Reads the addresses of a program; `at` points behind the 22nd field of
   proc(5). They are 0 or 1 if we may not trace the process, and some are 0
   while it is in execve(2). */
static void read_image(const char *at, struct stat_of *stat) {
  /* its code, stack, data and heap, and the ends of its environment */
  static const int fields[] = {26, 28, 45, 47, 50, 51};
  uint64_t hash = 0, value = 0;
  bool all = true;
  int last = 22;
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    skip(&at, fields[i] - last - 1);
    last = fields[i];
    value = number_at(&at);
    all = all && value > 1;
    hash = (hash ^ value) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 29;
  }
  stat->loaded = value > 0;
  stat->image = all ? hash : 0;
}

bool proc_stat(int pid, struct stat_of *stat) {
  char path[PATH], text[1024];
  path_of(path, pid, 0, "/stat");
  int fd = (int)sys_open(path, O_RDONLY);
  if (fd < 0)
    return false;
  long n = sys_read(fd, text, sizeof text - 1);
  sys_close(fd);
  if (n <= 0)
    return false;
  text[n] = '\0';
  const char *at = text + n;
  while (at > text && *at != ')') /* the name may have anything in it */
    at--;
  if (*at != ')' || at + 4 > text + n)
    return false;
  stat->state = at[2];
  at += 3;
  stat->parent = (int)number_at(&at);
  stat->group = (int)number_at(&at);
  stat->session = (int)number_at(&at);
  skip(&at, 20 - 7); /* fields of proc(5) */
  uint64_t threads = number_at(&at);
  stat->ended = (stat->state == 'Z' || stat->state == 'X') && threads < 2;
  skip(&at, 1);
  stat->start = number_at(&at);
  read_image(at, stat);
  return true;
}

/* Returns the hexadecimal number that a file consists of; -1: there is none. */
static int64_t number_in(const char *path) {
  char text[32];
  int fd = (int)sys_open(path, O_RDONLY);
  long n = fd >= 0 ? sys_read(fd, text, sizeof text) : fd;
  int64_t number = n > 0 ? 0 : -1;
  if (fd >= 0)
    sys_close(fd);
  for (long i = 0; i < n && text[i] != '\n'; i++) {
    unsigned digit =
        (unsigned)(text[i] <= '9' ? text[i] - '0' : text[i] - 'a' + 10);
    number = digit < 16 ? number * 16 + (int)digit : number;
  }
  return number;
}

bool proc_is_random(int pid) {
  enum { ADDR_NO_RANDOMIZE = 0x40000 };
  char path[PATH];
  if (number_in("/proc/sys/kernel/randomize_va_space") <= 0) /* 0, 1, 2 */
    return false;
  path_of(path, pid, 0, "/personality");
  int64_t personality = number_in(path);
  return personality >= 0 && !(personality & ADDR_NO_RANDOMIZE);
}

int proc_numbers(int fd, void (*each)(int, void *), void *data) {
  char text[CHUNK];
  int number = 0;
  long n;
  while ((n = sys_read(fd, text, sizeof text)) > 0)
    for (long i = 0; i < n; i++) {
      if (text[i] >= '0' && text[i] <= '9') {
        number = number * 10 + (text[i] - '0');
      } else if (number > 0) {
        each(number, data);
        number = 0;
      }
    }
  return (int)n;
}

struct dirent64 {
  uint64_t ino;
  int64_t off;
  unsigned short reclen;
  unsigned char type;
  char name[];
};

/* Calls each(number, data) for the entries of a directory whose names are
   numbers. 0 or -errno. */
static int each_entry(const char *path, void (*each)(int, void *), void *data) {
  _Alignas(struct dirent64) char buffer[CHUNK];
  int fd = (int)sys_open(path, O_RDONLY | O_DIRECTORY);
  if (fd < 0)
    return fd;
  long n;
  while ((n = SYS(__NR_getdents64, fd, buffer, sizeof buffer)) > 0)
    for (long at = 0; at < n;) {
      const struct dirent64 *entry = (const void *)(buffer + at);
      const char *name = entry->name;
      int number = (int)number_at(&name);
      if (number > 0 && *name == '\0')
        each(number, data);
      at += entry->reclen;
    }
  sys_close(fd);
  return (int)n;
}

void proc_directories(int dir, void (*each)(int, const char *, void *),
                      void *data) {
  enum { DIRECTORY = 4 };
  _Alignas(struct dirent64) char buffer[CHUNK];
  long n;
  SYS(__NR_lseek, dir, 0, 0);
  while ((n = SYS(__NR_getdents64, dir, buffer, sizeof buffer)) > 0)
    for (long at = 0; at < n;) {
      const struct dirent64 *entry = (const void *)(buffer + at);
      if (entry->type == DIRECTORY && entry->name[0] != '.')
        each(dir, entry->name, data);
      at += entry->reclen;
    }
}

struct of_thread {
  int pid;
  void (*each)(int, void *);
  void *data;
};

static int open_children(int pid, int thread) {
  char path[PATH];
  path_of(path, pid, thread, "/children");
  return (int)sys_open(path, O_RDONLY);
}

bool proc_has_children(void) {
  static enum { UNKNOWN, NO, YES } answer;
  if (answer == UNKNOWN && !proc_forbids_children) {
    int self = (int)SYS(__NR_getpid, 0), fd = open_children(self, self);
    answer = fd >= 0 ? YES : NO;
    if (fd >= 0)
      sys_close(fd);
  }
  return answer == YES;
}

static void children_of_thread(int thread, void *data) {
  struct of_thread *of = data;
  int fd = open_children(of->pid, thread);
  if (fd < 0)
    return;
  proc_numbers(fd, of->each, of->data);
  sys_close(fd);
}

bool proc_children(int pid, void (*each)(int pid, void *data), void *data) {
  struct of_thread of = {pid, each, data};
  char path[PATH];
  if (!proc_has_children())
    return false;
  path_of(path, pid, 0, "/task");
  return each_entry(path, children_of_thread, &of) >= 0;
}

int proc_all(void (*each)(int pid, void *data), void *data) {
  return each_entry("/proc", each, data);
}

static const char NAME[] = "ORRERY_FAMILY=";

/* Goes through an environment bit by bit: how much of NAME has been seen, and
   the id that is being read. */
struct search {
  void (*each)(const char *id, void *data);
  void *data;
  size_t name, length;
  bool skip;   /* this variable is another one */
  bool inside; /* behind NAME */
  char id[MARK];
};

/* Takes a byte of the ids: one ends. */
static void search_id(struct search *s, char c) {
  if (c != ':' && c != '\0') {
    if (s->length < MARK)
      s->id[s->length++] = c;
    return;
  }
  if (s->length > 0 && s->length < MARK) {
    s->id[s->length] = '\0';
    s->each(s->id, s->data);
  }
  s->length = 0;
}

/* Takes the next byte. */
static void search_byte(struct search *s, char c) {
  if (s->inside)
    search_id(s, c);
  if (c == '\0') {
    s->name = 0;
    s->inside = s->skip = false;
  } else if (!s->inside && !s->skip) {
    s->skip = NAME[s->name] != c;
    s->name += !s->skip;
    s->inside = !s->skip && NAME[s->name] == '\0';
  }
}

long proc_marks(int pid, void (*each)(const char *id, void *data), void *data) {
  struct search s = {.each = each, .data = data};
  char path[PATH], text[CHUNK];
  long n, sum = 0;
  path_of(path, pid, 0, "/environ");
  int fd = (int)sys_open(path, O_RDONLY);
  if (fd < 0)
    return fd;
  for (; (n = sys_read(fd, text, sizeof text)) > 0; sum += n)
    for (long i = 0; i < n; i++)
      search_byte(&s, text[i]);
  search_byte(&s, '\0');
  sys_close(fd);
  return sum;
}
