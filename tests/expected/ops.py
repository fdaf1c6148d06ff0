"""What every public operation should give, in the words of its user: the same arguments as striate.ops."""

from __future__ import annotations

import math

import numpy as np

from expected import elementwise, loss, norm, windows
from expected import linear as layer
from expected.shape import channel_shuffle as shuffled
from expected.shape import concat as joined


def both(value):
    return tuple(value) if isinstance(value, tuple | list) else (value, value)


def sides(padding, kernel=(1, 1), dilation=(1, 1)):
    if padding == "same":
        return tuple(s for k, d in zip(kernel, dilation, strict=True)
                     for s in (d * (k - 1) // 2, d * (k - 1) - d * (k - 1) // 2))
    vertical, horizontal = (both(p) for p in both(padding))
    return (*vertical, *horizontal)


def conv2d(x, w, b=None, r=None, *, stride=1, padding=0, dilation=1, groups=1, flip=False, activation=0):
    around = padding if np.shape(padding) == (4,) else sides(padding, w.shape[2:], both(dilation))
    return windows.conv2d(x, windows.flip(w) if flip else w, b, r, stride=both(stride), padding=around,
                          dilation=both(dilation), groups=groups, activation=activation)


def linear(x, w, b=None, *, activation=0):
    return windows.linear(x, w, b, activation=activation)


def with_norm(layer):
    def normed(x, w, b, mean, var, gamma, beta, r=None, *, eps, activation, **options):
        y = norm.scale_shift(layer(x, w, b, **options), mean, var, gamma, beta, eps=eps)
        return windows.activated(y if r is None else y + r, activation)
    return normed


conv2d_norm, linear_norm = with_norm(conv2d), with_norm(linear)


def conv2d_max_pool_norm(x, w, b, mean, var, gamma, beta, **options):
    return max_pool2d(conv2d_norm(x, w, b, mean, var, gamma, beta, **options), 2)


def conv2d_max_pool(x, w, b, **options):
    return max_pool2d(conv2d(x, w, b, **options), 2)


def conv2d_moments(x, w, b, **options):
    y = conv2d(x, w, b, **options)
    return y, *norm.batch_moments(y)


def norm_act(x, mean, var, gamma, beta, r=None, *, eps, activation, own):
    y = norm.scale_shift(x, mean, var, gamma, beta, eps=eps)
    return windows.activated(y if r is None else y + r, activation)


def max_pool2d(x, kernel_size, *, stride=None, padding=0, dilation=1, ceil_mode=False):
    return windows.max_pool(x, kernel=both(kernel_size), stride=both(stride or kernel_size), padding=both(padding),
                            dilation=both(dilation), ceil=ceil_mode)[0]


def avg_pool2d(x, kernel_size, *, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    return windows.avg_pool(x, kernel=both(kernel_size), stride=both(stride or kernel_size), padding=both(padding),
                            ceil=ceil_mode, count_include_pad=count_include_pad)


def global_avg_pool2d(x):
    return x.sum(axis=(2, 3), keepdims=True) / (x.shape[2] * x.shape[3])


def adaptive_avg_pool2d(x, output_size):
    return windows.adaptive_avg_pool(x, out=both(output_size))


def lp_pool2d(x, p, kernel_size, *, stride=None, ceil_mode=False):
    return windows.lp_pool(x, power=p, kernel=both(kernel_size), stride=both(stride or kernel_size), ceil=ceil_mode)


def pool2d(x, kernel_size, *, function, derivative=None, stride=None, padding=0, padding_value=0.0):
    (kh, kw), (sh, sw), (ph, pw) = both(kernel_size), both(stride or kernel_size), both(padding)
    n, c, h, w = x.shape
    y = np.zeros((n, c, (h + 2 * ph - kh) // sh + 1, (w + 2 * pw - kw) // sw + 1))
    for i, j in np.ndindex(*y.shape[2:]):
        spots = [(i * sh + a - ph, j * sw + b - pw) for a in range(kh) for b in range(kw)]
        seen = [x[:, :, p, q] if 0 <= p < h and 0 <= q < w else np.full((n, c), padding_value) for p, q in spots]
        y[:, :, i, j] = function(np.stack(seen, axis=-1))
    return y


def batch_norm(x, running_mean, running_var, weight=None, bias=None, *, training=False, momentum=0.1, eps=1e-5):
    mean, var = norm.batch_moments(x)[:2] if training else (running_mean, running_var)
    return norm.scale_shift(x, mean, var, weight, bias, eps=eps)


def local_response_norm(x, size=5, *, alpha=1e-4, beta=0.75, k=2.0):
    return norm.local_response_norm(x, size=size, alpha=alpha, beta=beta, offset=k)


def rbf(x, centers):
    return layer.rbf(x, centers)


def channel_shuffle(x, groups):
    return shuffled(x, groups=groups)


def dropout(x, p=0.5, *, seed=0, step=0):
    return elementwise.dropout(x, seed, step, p=p, key=0, first=0)


relu, tanh, sigmoid = elementwise.relu, elementwise.tanh, elementwise.sigmoid
relu6, hard_swish = elementwise.relu6, elementwise.hard_swish
softmax, log_softmax = loss.softmax, loss.log_softmax
add, sub, mul, div = elementwise.add, elementwise.sub, elementwise.mul, elementwise.div


def leaky_relu(x, slope=0.01):
    return elementwise.leaky_relu(x, slope=slope)


def gelu(x, approximate="none"):
    return elementwise.gelu(x, tanh=approximate == "tanh")


def clip(x, low, high):
    return elementwise.clip(x, low=low, high=high)


def lerp(old, new, weight):
    return norm.lerp(old, new, weight=weight)


def concat(values, axis=1):
    return joined(*values, axis=axis % values[0].ndim)


def split(x, sizes, axis=1):
    ends = np.cumsum(sizes)
    return tuple(slice(x, end - size, end, axis) for end, size in zip(ends, sizes, strict=True))


def slice(x, start, stop, axis=1):
    return np.take(x, range(start, stop), axis=axis)


def pad(x, padding, value=0.0):
    (top, bottom, left, right), (n, c, h, w) = sides(padding), x.shape
    y = np.full((n, c, h + top + bottom, w + left + right), value)
    y[:, :, top:top + h, left:left + w] = x
    return y


def pad_channels(x, channels):
    return np.array([[*image, *np.zeros((channels, *image.shape[1:]))] for image in x]).reshape(
        len(x), x.shape[1] + channels, *x.shape[2:])


def flatten(x):
    return np.array([image.ravel() for image in x]).reshape(x.shape[0], x[:1].size if len(x) else
                                                            int(np.prod(x.shape[1:])))


def reshape(x, shape):
    return np.array([image.ravel().reshape(shape) for image in x]).reshape(len(x), *shape)


def cross_entropy(logits, targets, *, weight=None, label_smoothing=0.0):
    return loss.cross_entropy(logits, targets, weight, smoothing=label_smoothing)[0]


def mse_loss(x, target):
    return loss.mse(x, target)


def count_correct(logits, targets):
    return loss.count_correct(logits, targets)


def sum(x):  # the operation's own name
    return np.float64(math.fsum(x.ravel()))


def mean(x):
    return sum(x) / max(x.size, 1)


def callback(x, *, function, derivative=None, shape=None, cost=None):
    return function(x)
