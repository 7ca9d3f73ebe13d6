// A library with plugins of a user: it waits to be asked for them.
extern "C" void* const* getCreators(int& count)
{
    count = 0;
    return nullptr;
}
