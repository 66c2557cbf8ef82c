/* A V4L2 camera that is not there: preloaded, it answers stat, open, ioctl, mmap and close of one device in the kernel's
 * place.
 *
 * CAMERA_FRAMES is a file of pictures in the format CAMERA_FORMAT (YUYV, NV12 or MJPG; YUYV without), shown one after
 * another and again from the first one, CAMERA_RATE of them a second (0: as fast as they are asked for). Before each JPEG
 * of MJPG stand its bytes, 32 bits. CAMERA_DEVICE, which need not exist, is the device's path. After CAMERA_UNPLUG
 * pictures it is gone: ENODEV, as when its cable is pulled; after CAMERA_STALL it gives none any more. CAMERA_LOG gets a
 * line for each buffer mapped (its address), stream started and device closed.
 *
 * Structures and error codes: linux/videodev2.h and the kernel's V4L2 documentation.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
enum { BUFFERS = 32 };

static struct {
  int fd; /* of the device, open once; 0: closed */
  unsigned width, height, format, count, sequence;
  unsigned char *memory[BUFFERS];
  int queue[BUFFERS], queued, streaming;
  unsigned char *pictures;
  size_t bytes, at; /* of them, and of the next one */
} camera;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static long number(const char *name, long otherwise) {
  const char *text = getenv(name);
  return text && *text ? atol(text) : otherwise;
}

/* Of a picture; of a JPEG the most, for which drivers keep room. */
static size_t picture_bytes(void) {
  size_t pixels = (size_t)camera.width * camera.height;
  return camera.format == V4L2_PIX_FMT_NV12 ? pixels * 3 / 2 : pixels * 2;
}

static void note(const char *what, unsigned long value) {
  const char *path = getenv("CAMERA_LOG");
  FILE *file = path ? fopen(path, "a") : NULL;
  if (file) {
    fprintf(file, "%s %lu\n", what, value);
    fclose(file);
  }
}

static void reset(void) {
  for (unsigned i = 0; i < BUFFERS; i++) camera.memory[i] = NULL;
  camera.count = camera.queued = camera.streaming = 0;
}

static int open_camera(int flags) {
  const char *path = getenv("CAMERA_FRAMES");
  FILE *file = path ? fopen(path, "rb") : NULL;
  if (!file) {
    errno = ENODEV;
    return -1;
  }
  const char *format = getenv("CAMERA_FORMAT");
  if (!format) format = "YUYV";
  camera.format = v4l2_fourcc(format[0], format[1], format[2], format[3]);
  camera.width = number("CAMERA_WIDTH", 64), camera.height = number("CAMERA_HEIGHT", 48);
  fseek(file, 0, SEEK_END);
  camera.bytes = ftell(file);
  rewind(file);
  free(camera.pictures);
  camera.pictures = malloc(camera.bytes);
  if (fread(camera.pictures, 1, camera.bytes, file) != camera.bytes) abort();
  fclose(file);
  reset();
  camera.sequence = camera.at = 0;
  camera.fd = REAL(open)("/dev/null", O_RDWR | (flags & O_CLOEXEC)); /* a number that nobody else gets */
  return camera.fd;
}

static int is_camera(const char *path) {
  const char *device = getenv("CAMERA_DEVICE");
  return device && strcmp(path, device) == 0;
}

static int opened(const char *path, int flags, mode_t mode) {
  return is_camera(path) ? open_camera(flags) : REAL(open64)(path, flags, mode);
}

int open(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return opened(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return opened(path, flags, mode);
}

/* The kernel's own call: glibc before 2.33 has no stat to look up. */
static int looked_up(const char *path, struct stat *found) {
  if (!is_camera(path)) return syscall(SYS_newfstatat, AT_FDCWD, path, found, 0);
  memset(found, 0, sizeof *found);
  found->st_mode = S_IFCHR | 0660;
  return 0;
}

int stat(const char *path, struct stat *found) { return looked_up(path, found); }
int stat64(const char *path, struct stat64 *found) { return looked_up(path, (struct stat *)found); }
int __xstat(int version, const char *path, struct stat *found) { return (void)version, looked_up(path, found); }
int __xstat64(int version, const char *path, struct stat64 *found) {
  return (void)version, looked_up(path, (struct stat *)found);
}

int close(int fd) {
  if (camera.fd && fd == camera.fd) {
    note("close", camera.sequence);
    camera.fd = 0;
  }
  return REAL(close)(fd);
}

static int failed(int code) {
  errno = code;
  return -1;
}

static void describe(struct v4l2_format *format) {
  struct v4l2_pix_format *pixels = &format->fmt.pix;
  memset(pixels, 0, sizeof *pixels);
  pixels->width = camera.width, pixels->height = camera.height;
  pixels->pixelformat = camera.format;
  pixels->field = V4L2_FIELD_NONE;
  unsigned bytes = camera.format == V4L2_PIX_FMT_YUYV ? 2 : camera.format == V4L2_PIX_FMT_NV12;
  pixels->bytesperline = camera.width * bytes;
  pixels->sizeimage = picture_bytes();
  pixels->colorspace = V4L2_COLORSPACE_SRGB;
}

static int request(struct v4l2_requestbuffers *wanted) {
  if (wanted->memory != V4L2_MEMORY_MMAP) return failed(EINVAL);
  if (wanted->count > BUFFERS) wanted->count = BUFFERS;
  reset();
  camera.count = wanted->count;
  return 0;
}

static int queue(struct v4l2_buffer *buffer) {
  if (buffer->index >= camera.count || camera.queued == BUFFERS) return failed(EINVAL);
  camera.queue[camera.queued++] = buffer->index;
  return 0;
}

/* The next picture, when it is due, in the buffer that has waited longest. */
static int dequeue(struct v4l2_buffer *buffer) {
  while (camera.sequence >= number("CAMERA_STALL", 1L << 30)) {
    pthread_mutex_unlock(&lock); /* other calls go on meanwhile, as in the kernel */
    pause();
    pthread_mutex_lock(&lock);
  }
  if (camera.sequence >= number("CAMERA_UNPLUG", 1L << 30)) return failed(ENODEV);
  if (!camera.streaming) return failed(EINVAL);
  if (!camera.queued) return failed(EAGAIN);
  long rate = number("CAMERA_RATE", 0);
  if (rate) {
    struct timespec step = {0, 1000000000L / rate};
    nanosleep(&step, NULL);
  }
  int index = camera.queue[0];
  memmove(camera.queue, camera.queue + 1, --camera.queued * sizeof *camera.queue);
  size_t bytes = picture_bytes();
  if (camera.at == camera.bytes) camera.at = 0;
  if (camera.format == V4L2_PIX_FMT_MJPEG) {
    unsigned size;
    memcpy(&size, camera.pictures + camera.at, sizeof size);
    bytes = size, camera.at += sizeof size;
  }
  memcpy(camera.memory[index], camera.pictures + camera.at, bytes);
  camera.at += bytes;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  buffer->index = index;
  buffer->bytesused = bytes, buffer->length = picture_bytes();
  buffer->flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
  buffer->field = V4L2_FIELD_NONE;
  buffer->timestamp.tv_sec = now.tv_sec, buffer->timestamp.tv_usec = now.tv_nsec / 1000;
  buffer->sequence = camera.sequence++;
  return 0;
}

static int answer(unsigned long code, void *argument) {
  switch (code) {
    case VIDIOC_QUERYCAP: {
      struct v4l2_capability *can = argument;
      memset(can, 0, sizeof *can);
      strcpy((char *)can->driver, "uvcvideo");
      strcpy((char *)can->card, "a camera");
      can->device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
      can->capabilities = can->device_caps | V4L2_CAP_DEVICE_CAPS;
      return 0;
    }
    case VIDIOC_ENUM_FMT: {
      struct v4l2_fmtdesc *format = argument;
      if (format->index) return failed(EINVAL);
      strcpy((char *)format->description, "the camera's format");
      format->flags = camera.format == V4L2_PIX_FMT_MJPEG ? V4L2_FMT_FLAG_COMPRESSED : 0;
      format->pixelformat = camera.format;
      return 0;
    }
    case VIDIOC_S_FMT: /* a driver answers with what it has instead of what was asked for */
    case VIDIOC_G_FMT:
    case VIDIOC_TRY_FMT:
      describe(argument);
      return 0;
    case VIDIOC_G_INPUT:
      *(int *)argument = 0;
      return 0;
    case VIDIOC_S_INPUT:
      return *(int *)argument ? failed(EINVAL) : 0;
    case VIDIOC_ENUMINPUT: {
      struct v4l2_input *input = argument;
      if (input->index) return failed(EINVAL);
      memset(input, 0, sizeof *input);
      strcpy((char *)input->name, "Camera 1");
      input->type = V4L2_INPUT_TYPE_CAMERA;
      return 0;
    }
    case VIDIOC_G_PARM:
    case VIDIOC_S_PARM: {
      struct v4l2_streamparm *parameters = argument;
      parameters->parm.capture.capability = V4L2_CAP_TIMEPERFRAME;
      parameters->parm.capture.timeperframe.numerator = 1;
      parameters->parm.capture.timeperframe.denominator = 30;
      return 0;
    }
    case VIDIOC_REQBUFS:
      return request(argument);
    case VIDIOC_QUERYBUF: {
      struct v4l2_buffer *buffer = argument;
      if (buffer->index >= camera.count) return failed(EINVAL);
      buffer->length = picture_bytes();
      buffer->m.offset = buffer->index << 20;
      return 0;
    }
    case VIDIOC_QBUF:
      return queue(argument);
    case VIDIOC_DQBUF:
      return dequeue(argument);
    case VIDIOC_STREAMON:
      camera.streaming = 1;
      note("streamon", camera.count);
      return 0;
    case VIDIOC_STREAMOFF:
      camera.streaming = 0;
      return 0;
  }
  return failed(ENOTTY);
}

int ioctl(int fd, unsigned long code, ...) {
  va_list rest;
  va_start(rest, code);
  void *argument = va_arg(rest, void *);
  va_end(rest);
  if (!camera.fd || fd != camera.fd) return REAL(ioctl)(fd, code, argument);
  pthread_mutex_lock(&lock);
  int result = answer((unsigned)code, argument);
  pthread_mutex_unlock(&lock);
  return result;
}

static void *mapped(void *where, size_t bytes, int protection, int flags, int fd, off64_t offset) {
  if (!camera.fd || fd != camera.fd) return REAL(mmap64)(where, bytes, protection, flags, fd, offset);
  unsigned index = offset >> 20;
  void *memory = REAL(mmap64)(where, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  camera.memory[index] = memory;
  note("map", (unsigned long)memory);
  return memory;
}

void *mmap(void *where, size_t bytes, int protection, int flags, int fd, off_t offset) {
  return mapped(where, bytes, protection, flags, fd, offset);
}

void *mmap64(void *where, size_t bytes, int protection, int flags, int fd, off64_t offset) {
  return mapped(where, bytes, protection, flags, fd, offset);
}
