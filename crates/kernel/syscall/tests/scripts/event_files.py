"""Files made from nothing, waiting on them, and what they say: prints the same on Linux and in a sandbox."""
import os,select,sys,time,signal,struct,threading,subprocess,socket
r,w=os.pipe()
ep=select.epoll(); ep.register(r,select.EPOLLIN)
print(ep.poll(0.05)); os.write(w,b'x'); print(ep.poll(1)==[(r,1)])
t=threading.Timer(0.05,lambda: os.write(w,b'yy')); os.read(r,10); t0=time.monotonic(); t.start(); print(ep.poll(60)==[(r,1)], time.monotonic()-t0>=0.05)
t.join()
p=select.poll(); p.register(r,select.POLLIN); p.register(w,select.POLLOUT); print(sorted(p.poll(10))==sorted([(r,1),(w,4)]))
print(select.select([r],[w],[],1)==([r],[w],[]))
os.read(r,10); t0=time.monotonic(); print(select.select([r],[],[],0.1)==([],[],[]), time.monotonic()-t0>=0.1)
e=os.eventfd(3); print(os.eventfd_read(e)); os.eventfd_write(e,7); print(os.eventfd_read(e))
fd=os.memfd_create("hello",os.MFD_ALLOW_SEALING|os.MFD_CLOEXEC); os.write(fd,b'abc'); print(os.readlink(f'/proc/self/fd/{fd}'), os.fstat(fd).st_size)
import mmap,fcntl
m=mmap.mmap(fd,3); print(m[:]); m[0:1]=b'Z'; print(os.pread(fd,3,0)); 
try: fcntl.fcntl(fd,1033,8); print("sealed?")
except OSError as x: print("seal", x.errno)
m.close()
try: print(fcntl.fcntl(fd,1033,8), fcntl.fcntl(fd,1034))
except OSError as x: print("seal2", x.errno)
q=os.memfd_create("untouched",os.MFD_ALLOW_SEALING); os.truncate(q,4096); m=mmap.mmap(q,4096)
try: print(fcntl.fcntl(q,1033,8))
except OSError as x: print("seal3", x.errno)
m.close(); m=mmap.mmap(q,4096,mmap.MAP_PRIVATE); print("seal4", fcntl.fcntl(q,1033,8)); m.close(); os.close(q)
try: print(fcntl.fcntl(r,1032), fcntl.fcntl(r,1031,131072))
except OSError as x: print("pipesz", x.errno)
import ctypes
libc=ctypes.CDLL(None,use_errno=True)
tf=libc.timerfd_create(1,0); its=struct.pack('qqqq',0,20_000_000,0,50_000_000); print(libc.timerfd_settime(tf,0,its,None)); time.sleep(0.1); print(struct.unpack('Q',os.read(tf,8))[0]>=2)
# Periods that are too short to be told of one by one are counted.
short=libc.timerfd_create(1,0); begin=time.monotonic(); libc.timerfd_settime(short,0,struct.pack('qqqq',0,10_000,0,10_000),None); ticks=0
while ticks<5000: ticks+=struct.unpack('Q',os.read(short,8))[0]
took=time.monotonic()-begin; print("short periods", ticks*1e-5<=took+1e-4, took-ticks*1e-5<1); os.close(short)
print(struct.unpack('Q',os.read(tf,8))[0]>=1)
signal.pthread_sigmask(signal.SIG_BLOCK,[signal.SIGUSR1]); ms=struct.pack('Q',1<<9)
sf=libc.signalfd(-1,ms,0x800); os.kill(os.getpid(),signal.SIGUSR1); d=os.read(sf,128); print(len(d), struct.unpack('I',d[:4])[0], struct.unpack('I',d[12:16])[0]==os.getpid())
fifo='ff'; os.mkfifo(fifo)
pid=os.fork()
if pid==0:
    f=open(fifo,'w'); f.write('through fifo'); f.close(); os._exit(0)
print(open(fifo).read()); os.waitpid(pid,0)
try: os.open(fifo,os.O_WRONLY|os.O_NONBLOCK)
except OSError as x: print("fifo", x.errno)
print(subprocess.run("cat | wc -c",shell=True,input=b'a'*200000,stdout=subprocess.PIPE).stdout)
i=libc.inotify_init1(0x800); os.mkdir('w'); wd=libc.inotify_add_watch(i,b'w',0xfff); open('w/a','w').write('x'); os.rename('w/a','w/b'); os.unlink('w/b')
b=os.read(i,4096); o=0
while o<len(b):
    _,mk,ck,ln=struct.unpack('iIII',b[o:o+16]); print(hex(mk),ck!=0,b[o+16:o+16+ln].rstrip(b'\0').decode(),end='; '); o+=16+ln
print()
import pty,termios
m,s=os.openpty()
print(os.ttyname(s)=='/dev/pts/%d'%struct.unpack('I',fcntl.ioctl(m,0x80045430,b'\0'*4))[0], os.isatty(s))
pid,fd=pty.fork()
if pid==0:
    signal.signal(signal.SIGHUP,lambda *a: os._exit(7)); os.write(1,b'r'); time.sleep(20); os._exit(1)
os.read(fd,1); os.close(fd); print("hang-up",os.waitstatus_to_exitcode(os.waitpid(pid,0)[1]))
pid,fd=pty.fork()
if pid==0:
    os.execvp('sh',['sh','-c','echo ready; read x; echo "[$x]"; tty >/dev/null && echo tty; exec sleep 30'])
got=b''
def until(what):
    global got
    while what not in got: got+=os.read(fd,100)
until(b'ready\r\n'); os.write(fd,b'ab\x7fc\n'); until(b'tty\r\n'); print(got); os.write(fd,b'\x03')
print("interrupt",os.waitstatus_to_exitcode(os.waitpid(pid,0)[1]))
pf=os.pidfd_open(os.getpid()); print(select.select([pf],[],[],0)==([],[],[]))
child=os.fork()
if child==0: os._exit(0)
pf=os.pidfd_open(child); print(select.select([pf],[],[],60)==([pf],[],[])); os.waitpid(child,0)
for bad in (lambda: select.epoll().register(os.open('ff',os.O_RDWR|os.O_CREAT),99999), lambda: select.epoll().register(os.open('.',os.O_RDONLY)), lambda: fcntl.ioctl(r,termios.TCGETS,b'\0'*60), lambda: fcntl.ioctl(99,1), lambda: os.pidfd_open(999999), lambda: select.select([60],[],[],0), lambda: os.write(w,b'') if os.close(r) is None else 0, lambda: os.write(w,b'x')):
    try: print(bad())
    except OSError as x: print("errno",x.errno)
