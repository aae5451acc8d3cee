/* SPDX-License-Identifier: Apache-2.0 */
/* Copyright The otel_ebpf Authors */
/*
 * A BPF map that processes share through a pin of a fixed path: opened, or created by whoever comes first.
 *
 * C99 and C++; needs libbpf >= 1.1.
 */
#ifndef OTEL_EBPF_PINNED_MAP_H
#define OTEL_EBPF_PINNED_MAP_H

#include <linux/bpf.h>

#include <bpf/bpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#ifdef __cplusplus
#define OE_USER_INLINE inline
#else
#define OE_USER_INLINE static inline
#endif

#define OE_BPFFS_ROOT_VARIABLE "OTEL_EBPF_BPF_FS_PATH" /* the environment variable that OBI reads, too */
#define OE_BPFFS_DEFAULT_ROOT "/sys/fs/bpf"
#define OE_BPFFS_MAGIC 0xcafe4a11 /* include/uapi/linux/magic.h */
#define OE_PIN_ATTEMPTS 16
#define OE_PIN_PATH_SIZE 4096 /* PATH_MAX, which strict C99 hides */
#define OE_PIN_TEXT_SIZE 1024 /* for the texts that these functions write; a longer one is cut */

/* What the map is. Every field must agree: a peer may refuse any other shape, or read garbage from it. */
struct oe_pinned_map_spec {
	const char *folder;     /* of the pin, below the root of the bpffs */
	const char *pin;        /* the file in it */
	const char *name;       /* of the map, at most 15 characters */
	const char *if_private; /* what is lost when the map can't be shared; ends the message about it */
	__u32 type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 map_flags;
};

enum oe_sharing {
	OE_SHARING_NONE,    /* there is no map: the text says why */
	OE_SHARING_OPENED,  /* shared: the pin was there */
	OE_SHARING_CREATED, /* shared: this call made the pin */
	OE_SHARING_PRIVATE, /* not shared, but usable: the text says why, and what to do */
};

/* One attempt at a pin: its paths, and the text that tells what became of it. */
struct oe_pin {
	const struct oe_pinned_map_spec *spec;
	char *text;
	size_t text_size;
	size_t text_used;
	int path_error; /* 0, or -ENAMETOOLONG: then the paths are cut */
	char root[OE_PIN_PATH_SIZE];
	char folder[OE_PIN_PATH_SIZE];
	char path[OE_PIN_PATH_SIZE];
};

/* `root`, or where it is NULL or empty the environment variable, or the usual place. */
OE_USER_INLINE const char *oe_bpffs_root(const char *root)
{
	if (!root || !*root)
		root = getenv(OE_BPFFS_ROOT_VARIABLE);
	return root && *root ? root : OE_BPFFS_DEFAULT_ROOT;
}

OE_USER_INLINE int __attribute__((format(printf, 3, 4))) oe_pin_print(char *out, size_t size, const char *format, ...)
{
	va_list arguments;
	int written;

	va_start(arguments, format);
	written = vsnprintf(out, size, format, arguments);
	va_end(arguments);
	return written < 0 || (size_t)written >= size ? -ENAMETOOLONG : 0;
}

/* Appends to the text. */
OE_USER_INLINE void __attribute__((format(printf, 2, 3))) oe_pin_say(struct oe_pin *pin, const char *format, ...)
{
	va_list arguments;
	int written;

	if (pin->text_used >= pin->text_size)
		return;
	va_start(arguments, format);
	written = vsnprintf(pin->text + pin->text_used, pin->text_size - pin->text_used, format, arguments);
	va_end(arguments);
	if (written > 0)
		pin->text_used += (size_t)written;
}

OE_USER_INLINE void oe_pin_forget_text(struct oe_pin *pin)
{
	pin->text_used = 0;
	if (pin->text_size)
		*pin->text = '\0';
}

OE_USER_INLINE void oe_pin_init(struct oe_pin *pin, const struct oe_pinned_map_spec *spec, const char *root, char *text,
				size_t size)
{
	size_t length;

	memset(pin, 0, sizeof(*pin));
	pin->spec = spec;
	pin->text = text;
	pin->text_size = size;
	oe_pin_forget_text(pin);
	root = oe_bpffs_root(root);
	length = strlen(root);
	while (length > 1 && root[length - 1] == '/')
		--length;
	if (length >= sizeof(pin->root)) {
		pin->path_error = -ENAMETOOLONG;
		length = sizeof(pin->root) - 1;
	}
	memcpy(pin->root, root, length);
	if (oe_pin_print(pin->folder, sizeof(pin->folder), "%s/%s", pin->root, spec->folder) ||
	    oe_pin_print(pin->path, sizeof(pin->path), "%s/%s", pin->folder, spec->pin))
		pin->path_error = -ENAMETOOLONG;
}

/* What helps against an error of a pin. */
OE_USER_INLINE const char *oe_pin_remedy(int error)
{
	switch (error) {
	case EACCES:
	case EPERM:
		return " (run as root, or as the user and with the capabilities of the tool that made the pin)";
	case EROFS:
		return " (mount the bpffs writable, or name another root)";
	default:
		return "";
	}
}

/* 1, and a clause of the text, when a field is not as it should be. */
OE_USER_INLINE int oe_pin_differs(struct oe_pin *pin, int found, const char *field, __u32 is, __u32 should)
{
	if (is == should)
		return 0;
	oe_pin_say(pin, "%s%s is %u, expected %u", found ? ", " : "", field, is, should);
	return 1;
}

/* 0 when `fd` is a map of the right shape, -EPROTO when it is not, or another -errno. */
OE_USER_INLINE int oe_pin_check(struct oe_pin *pin, int fd)
{
	const struct oe_pinned_map_spec *spec = pin->spec;
	struct bpf_map_info info;
	__u32 info_size = sizeof(info), none = 0;
	int error, found = 0;

	/* A batch of no entries: EINVAL comes from what is no map at all. */
	if (bpf_map_lookup_batch(fd, NULL, NULL, NULL, NULL, &none, NULL) && errno == EINVAL) {
		oe_pin_say(pin, "refuse the pin %s: it is no map; it stays as it is", pin->path);
		return -EPROTO;
	}
	memset(&info, 0, sizeof(info));
	if (bpf_obj_get_info_by_fd(fd, &info, &info_size)) {
		error = errno;
		oe_pin_say(pin, "read the shape of the pinned map %s: %s", pin->path, strerror(error));
		return -error;
	}
	oe_pin_say(pin, "refuse the pinned map %s: ", pin->path);
	found |= oe_pin_differs(pin, found, "type", info.type, spec->type);
	found |= oe_pin_differs(pin, found, "key_size", info.key_size, spec->key_size);
	found |= oe_pin_differs(pin, found, "value_size", info.value_size, spec->value_size);
	found |= oe_pin_differs(pin, found, "max_entries", info.max_entries, spec->max_entries);
	found |= oe_pin_differs(pin, found, "map_flags", info.map_flags, spec->map_flags);
	if (found) {
		oe_pin_say(pin, "; it stays as it is: find out which tool made it, stop what uses it, then rm %s", pin->path);
		return -EPROTO;
	}
	oe_pin_forget_text(pin);
	return 0;
}

/* The descriptor of what is pinned, or -errno. */
OE_USER_INLINE int oe_pin_get(struct oe_pin *pin)
{
	struct statfs status;
	int fd, error;

	oe_pin_forget_text(pin);
	if (pin->path_error) {
		oe_pin_say(pin, "open the pinned map %s below a bpffs: the path of its root is too long", pin->spec->pin);
		return pin->path_error;
	}
	if (statfs(pin->root, &status)) {
		error = errno;
		oe_pin_say(pin, "open the pinned map %s: %s: %s", pin->path, pin->root, strerror(error));
		if (*oe_pin_remedy(error))
			oe_pin_say(pin, "%s", oe_pin_remedy(error));
		else
			oe_pin_say(pin, " (mount a bpffs: mount -t bpf bpf %s)", pin->root);
		return error == EACCES ? -EACCES : -ENOTSUP;
	}
	if ((__u32)status.f_type != OE_BPFFS_MAGIC) {
		oe_pin_say(pin, "open the pinned map %s: no bpffs at %s (mount one: mount -t bpf bpf %s; or name another root)",
			   pin->path, pin->root, pin->root);
		return -ENOTSUP;
	}
	fd = bpf_obj_get(pin->path);
	if (fd < 0) {
		error = errno;
		oe_pin_say(pin, "open the pinned map %s: %s%s", pin->path, strerror(error), oe_pin_remedy(error));
		return -error;
	}
	error = oe_pin_check(pin, fd);
	if (error) {
		close(fd);
		return error;
	}
	return fd;
}

/* A map of the right shape without a pin, or -errno. */
OE_USER_INLINE int oe_pin_create_map(struct oe_pin *pin)
{
	const struct oe_pinned_map_spec *spec = pin->spec;
	struct bpf_map_create_opts options;
	int fd, error;

	memset(&options, 0, sizeof(options));
	options.sz = sizeof(options);
	options.map_flags = spec->map_flags;
	fd = bpf_map_create((enum bpf_map_type)spec->type, spec->name, spec->key_size, spec->value_size, spec->max_entries,
			    &options);
	if (fd >= 0)
		return fd;
	error = errno;
	oe_pin_say(pin, "create the map %s: %s%s", spec->name, strerror(error), error == EPERM ? " (needs CAP_BPF)" : "");
	return -error;
}

/* After the reason in the text: a map that is not shared. `fd` is one that is there already, or negative. */
OE_USER_INLINE int oe_pin_go_private(struct oe_pin *pin, int fd, enum oe_sharing *sharing)
{
	oe_pin_say(pin, "; ");
	if (fd < 0)
		fd = oe_pin_create_map(pin);
	*sharing = fd < 0 ? OE_SHARING_NONE : OE_SHARING_PRIVATE;
	if (fd >= 0)
		oe_pin_say(pin, "going on with a private map: %s", pin->spec->if_private);
	return fd;
}

/*
 * The map behind the pin: a descriptor that the caller closes, or -errno, and `text` says what failed.
 * -ENOTSUP: the root is no bpffs. -ENOENT: no such pin. -EPROTO: the pin has another shape, and is left alone.
 */
OE_USER_INLINE int oe_pinned_map_open_existing(const struct oe_pinned_map_spec *spec, const char *root, char *text,
					       size_t size)
{
	struct oe_pin pin;

	oe_pin_init(&pin, spec, root, text, size);
	return oe_pin_get(&pin);
}

/* A map of the same shape without a pin, for a tool that goes on by itself after `reason`, which the text repeats. */
OE_USER_INLINE int oe_pinned_map_open_private(const struct oe_pinned_map_spec *spec, const char *reason, char *text,
					      size_t size)
{
	enum oe_sharing sharing;
	struct oe_pin pin;

	oe_pin_init(&pin, spec, NULL, text, size);
	oe_pin_say(&pin, "%s", reason);
	return oe_pin_go_private(&pin, -1, &sharing);
}

/*
 * Opens the pin, or creates map and pin; safe against others who do the same now. Never unlinks or replaces a pin.
 * A pin that can't be had gives a private map. Returns a descriptor that the caller closes (close-on-exec), or -errno:
 * -EPROTO when the pin has another shape, anything else when even a private map can't be made.
 * `text` is "" exactly when the map is shared.
 */
OE_USER_INLINE int oe_pinned_map_open(const struct oe_pinned_map_spec *spec, const char *root, enum oe_sharing *sharing,
				      char *text, size_t size)
{
	int attempt, fd, error;
	struct oe_pin pin;

	*sharing = OE_SHARING_NONE;
	oe_pin_init(&pin, spec, root, text, size);
	for (attempt = 0; attempt < OE_PIN_ATTEMPTS; ++attempt) {
		fd = oe_pin_get(&pin);
		if (fd >= 0)
			*sharing = OE_SHARING_OPENED;
		if (fd >= 0 || fd == -EPROTO)
			return fd;
		if (fd != -ENOENT)
			return oe_pin_go_private(&pin, -1, sharing);

		oe_pin_forget_text(&pin);
		if (mkdir(pin.folder, 0700) && errno != EEXIST) {
			error = errno;
			oe_pin_say(&pin, "make the folder %s: %s%s", pin.folder, strerror(error), oe_pin_remedy(error));
			return oe_pin_go_private(&pin, -1, sharing);
		}
		fd = oe_pin_create_map(&pin);
		if (fd < 0)
			return fd;
		if (!bpf_obj_pin(fd, pin.path)) {
			*sharing = OE_SHARING_CREATED;
			return fd;
		}
		error = errno;
		if (error != EEXIST && error != ENOENT) {
			oe_pin_say(&pin, "pin the map at %s: %s%s", pin.path, strerror(error), oe_pin_remedy(error));
			return oe_pin_go_private(&pin, fd, sharing);
		}
		close(fd); /* another tool was quicker, or removed the folder: look again */
	}
	oe_pin_say(&pin, "open or create the pinned map %s: in %d attempts it was neither there nor absent", pin.path,
		   OE_PIN_ATTEMPTS);
	return oe_pin_go_private(&pin, -1, sharing);
}

#endif
